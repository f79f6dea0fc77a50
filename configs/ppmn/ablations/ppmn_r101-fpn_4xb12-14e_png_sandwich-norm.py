# The paper's order of normalisation, Eqs. 14-15.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(refinement=dict(aggregation=dict(norm_order='sandwich'))))
