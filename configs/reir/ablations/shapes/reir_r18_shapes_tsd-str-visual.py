# Table 2, row 3: TSD and self-taught regression, without x_q, on Grounding Shapes. L_rec,
# L_rank and L_reg of both stages.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(regress_with_phrase=False, graph=None, num_relations=0))
