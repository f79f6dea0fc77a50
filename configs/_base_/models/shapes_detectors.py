# Small FCOS and SOLO for Grounding Shapes, of one level each, with 12 x 12 points on a canvas of
# 192 pixels. As in mmdet's configs, names are in its scope.
data_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_mask=True,
    pad_size_divisor=32,
)
num_classes = 12

fcos = dict(
    type='FCOS',
    _scope_='mmdet',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=32,
        # C4, of stride 16.
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    neck=None,
    bbox_head=dict(
        type='FCOSHead',
        num_classes=num_classes,
        in_channels=128,
        feat_channels=128,
        stacked_convs=2,
        strides=[16],
        regress_ranges=((-1, 1e8),),
        center_sampling=True,
        center_sample_radius=1.5,
        norm_on_bbox=True,
        centerness_on_reg=True,
        conv_bias=True,
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
    ),
)

solo = dict(
    type='SOLO',
    _scope_='mmdet',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=32,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    # SOLO halves its finest level: of P2, of stride 4, masks are made at a quarter of the canvas.
    neck=dict(type='mmground.FinestLevelFPN', in_channels=[32, 64, 128, 256], out_channels=64),
    mask_head=dict(
        type='SOLOHead',
        num_classes=num_classes,
        in_channels=64,
        feat_channels=64,
        stacked_convs=3,
        strides=[8],
        scale_ranges=((1, 2048),),
        pos_scale=0.2,
        num_grids=[12],
        cls_down_index=0,
        norm_cfg=dict(type='GN', num_groups=16),
    ),
    test_cfg=dict(
        nms_pre=500,
        score_thr=0.1,
        mask_thr=0.5,
        filter_thr=0.05,
        kernel='gaussian',
        sigma=2.0,
        max_per_img=100,
    ),
)
