# The paper's scale of the attention, Eq. 12: the root of all channels, not of one head's.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(refinement=dict(aggregation=dict(scale='all'))))
