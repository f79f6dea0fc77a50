# The backbone as in the bottom-up-attention detector, whose weights it starts from: strides in the
# first convolution of a block, a dilated last stage. What still differs is how the stem pools (half
# a cell aside), and RoIAlign to 7 x 7 in place of RoIPool to 14 x 14.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(backbone=dict(style='caffe'), region_encoder=dict(dilation=2))
