# The paper's supervision, Sec. 3.2: at the resolution of F. Inference still upsamples by two.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(supervision_scale=1))
