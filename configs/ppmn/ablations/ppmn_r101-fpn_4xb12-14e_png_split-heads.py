# The paper's heads, Eq. 13: each sees its slice of the channels, and no projection follows them.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(refinement=dict(aggregation=dict(split_heads=True))))
