# Table 2, row 3, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(use_lsran=False, use_alignment=False))
