# SKNet in place of MCA (Table 4).
_base_ = '../../ppmn_r18-fpn_1xb16_shapes.py'

model = dict(
    head=dict(refinement=dict(aggregation=dict(_delete_=True, type='SKNet', ffn_channels=256)))
)
