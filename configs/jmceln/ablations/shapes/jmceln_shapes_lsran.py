# Table 2, row 2, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(num_stages=0))
