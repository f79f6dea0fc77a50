# Table 2, row 6, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(adaptive_context=False))
