# Table 2, row 4, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(use_alignment=False))
