# Table 2, row 6: all, but neighbours in the graph weigh alike, on Grounding Shapes. L_rec and
# L_rel of the fine stage, L_rank and L_reg of both.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(graph=dict(edges='uniform')))
