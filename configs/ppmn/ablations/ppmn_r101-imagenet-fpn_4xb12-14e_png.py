# PPMN-dagger of Table 1: the backbone knows ImageNet and nothing of COCO. It stays frozen, and
# the FPN, which has no weights to start from, is trained; the paper does not say which parts are.
# These are the weights, caffe style, that the detectron2 of the official code starts from; they
# are fetched when a training starts. BERT's weights: see ../README.md.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe')
    ),
    frozen=['backbone', 'text_encoder'],
)
