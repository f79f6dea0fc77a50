# Table 2, row 1: coarse matching alone, boxes as proposed, on Grounding Shapes. L_rec and L_rank
# of the coarse stage.
_base_ = '../../reir_r18_shapes.py'

model = dict(
    head=dict(
        num_stages=1,
        regressor_channels=None,
        graph=None,
        num_relations=0,
        rec_stages=['coarse'],
        rank_stages=['coarse'],
    )
)
