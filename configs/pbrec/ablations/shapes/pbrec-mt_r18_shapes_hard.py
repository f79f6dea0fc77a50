# Table 4 on Grounding Shapes: 0-1 targets for boxes and masks.
_base_ = '../../pbrec-mt_r18_shapes.py'

model = dict(head=dict(targets=dict(rec=dict(hard=True), res=dict(hard=True))))
