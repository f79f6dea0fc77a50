# Table III, 1 encoder layers.
_base_ = '../drmn-official_r101-fpn_1xb10-20e_png.py'

neck = _base_.model.neck
neck[1].num_layers = 1
model = dict(neck=neck)
