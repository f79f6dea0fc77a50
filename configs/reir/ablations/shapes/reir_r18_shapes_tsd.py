# Table 2, row 2: two-stage denoising, on Grounding Shapes. L_rec and L_rank of both stages.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(regressor_channels=None, graph=None, num_relations=0))
