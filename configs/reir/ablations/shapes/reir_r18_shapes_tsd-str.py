# Table 2, row 4: TSD and self-taught regression, on Grounding Shapes. L_rec, L_rank and L_reg
# of both stages.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(graph=None, num_relations=0))
