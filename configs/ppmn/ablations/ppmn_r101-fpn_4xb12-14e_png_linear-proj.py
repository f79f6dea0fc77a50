# The paper's first projection of the pixels, Eq. 1: linear.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(pixel_proj='linear'))
