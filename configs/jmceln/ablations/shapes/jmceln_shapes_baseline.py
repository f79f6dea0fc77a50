# Table 2, row 1, on Grounding Shapes.
_base_ = '../../jmceln_shapes.py'

model = dict(head=dict(use_lsran=False, num_stages=0))
