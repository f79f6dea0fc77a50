# The paper's selection, Eq. 11: an adaptive max pooling of the maps as they are.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(refinement=dict(selection='adaptive_max_pool', smooth=False)))
