# As in the paper, cells do not know where they are, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(fusion=dict(with_coord=False)))
