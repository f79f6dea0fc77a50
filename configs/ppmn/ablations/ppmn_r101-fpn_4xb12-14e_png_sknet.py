# Table 4, SKNet.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(
    head=dict(refinement=dict(aggregation=dict(_delete_=True, type='SKNet', ffn_channels=2048)))
)
