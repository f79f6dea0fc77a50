# Table 2, row 5: TSD, the visual object graph and the relation loss, on Grounding Shapes. L_rec
# and L_rank of both stages, L_rel.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(regressor_channels=None))
