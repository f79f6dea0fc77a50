# No encoder layer.
_base_ = '../../drmn-official_r18-fpn_1xb8_shapes256.py'

neck = _base_.model.neck
neck[1].num_layers = 0
model = dict(neck=neck)
