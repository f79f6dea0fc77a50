# Table 2, row 6: all, but neighbours in the graph weigh alike, on Grounding Shapes. L_rec,
# L_rank and L_reg of both stages, L_rel.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(graph=dict(edges='uniform')))
