# Both stages of PBREC-MT. The detectors are those of the official repositories,
# FCOS_imprv_R_101_FPN_2x of tianzhi0549/FCOS and SOLO_R101_3x of WXinlong/SOLO; convert.py of
# tools/model_converters (fcos, solo) takes their files and those of mmdet. A detector of another
# config, such as one of mmdet's, is `localisers.box.detector` or `localisers.mask.detector` as a
# whole: `norm_on_bbox` and `centerness_on_reg` must be those of its training, which its weights do
# not tell.
_base_ = './pbrec_r101.py'

model = dict(
    localisers=dict(
        box=dict(
            type='FCOSLocaliser',
            # P5, of stride 32: 20 x 20 points on a canvas of 640 pixels.
            level=2,
            checkpoint='data/fcos-r101/fcos.pth',
            detector=dict(
                type='FCOS',
                data_preprocessor=dict(
                    type='DetDataPreprocessor',
                    mean=[102.9801, 115.9465, 122.7717],
                    std=[1.0, 1.0, 1.0],
                    bgr_to_rgb=False,
                ),
                backbone=dict(
                    type='ResNet',
                    depth=101,
                    num_stages=4,
                    out_indices=(0, 1, 2, 3),
                    norm_cfg=dict(type='BN', requires_grad=False),
                    norm_eval=True,
                    style='caffe',
                ),
                neck=dict(
                    type='FPN',
                    in_channels=[256, 512, 1024, 2048],
                    out_channels=256,
                    start_level=1,
                    add_extra_convs='on_output',
                    num_outs=5,
                    relu_before_extra_convs=True,
                ),
                bbox_head=dict(
                    type='FCOSHead',
                    num_classes=80,
                    in_channels=256,
                    stacked_convs=4,
                    feat_channels=256,
                    strides=[8, 16, 32, 64, 128],
                    norm_on_bbox=True,
                    centerness_on_reg=True,
                    conv_bias=True,
                ),
            ),
        ),
        mask=dict(
            type='SOLOLocaliser',
            # P4, with a grid of 24 x 24 points.
            level=2,
            checkpoint='data/solo-r101/solo.pth',
            detector=dict(
                type='SOLO',
                data_preprocessor=dict(
                    type='DetDataPreprocessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                ),
                backbone=dict(
                    type='ResNet',
                    depth=101,
                    num_stages=4,
                    out_indices=(0, 1, 2, 3),
                    style='pytorch',
                ),
                neck=dict(
                    type='FPN',
                    in_channels=[256, 512, 1024, 2048],
                    out_channels=256,
                    start_level=0,
                    num_outs=5,
                ),
                mask_head=dict(
                    type='SOLOHead',
                    num_classes=80,
                    in_channels=256,
                    stacked_convs=7,
                    feat_channels=256,
                    strides=[8, 8, 16, 32, 32],
                    scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
                    pos_scale=0.2,
                    num_grids=[40, 36, 24, 16, 12],
                    cls_down_index=0,
                ),
            ),
        ),
    ),
)
