# Small detectors for Grounding Shapes, of one level each, on a canvas of 192 pixels: FCOS and SOLO
# with 12 x 12 points, and Faster R-CNN. As in mmdet's configs, names are in its scope.
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

# C4: the map of stride 16 proposes, and the backbone's last stage classifies crops of it. It learns
# colours and textures, too: kinds alone teach it to overlook them.
faster_rcnn = dict(
    type='FasterRCNN',
    _scope_='mmdet',
    data_preprocessor=data_preprocessor,
    backbone=fcos['backbone'],
    rpn_head=dict(
        type='RPNHead',
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[1.5, 2.5, 4.0], ratios=[0.7, 1.0, 1.4], strides=[16]
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0],
        ),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
    ),
    roi_head=dict(
        type='mmground.AttributeRoIHead',
        num_attributes=12,
        loss_attribute=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=2.0),
        # Crops are halved first, which makes the stage three times as fast.
        shared_head=dict(type='mmground.ResStage', depth=18, base_channels=32, stride=2),
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=128,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            type='BBoxHead',
            with_avg_pool=True,
            roi_feat_size=4,
            in_channels=256,
            num_classes=num_classes,
            reg_class_agnostic=True,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type='RandomSampler',
                num=64,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(
            nms_pre=500,
            max_per_img=100,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0,
        ),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type='mmground.RandomAttributeSampler',
                num=32,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=True,
            ),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=500,
            max_per_img=100,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0,
        ),
        # Low, because weak supervision wants to choose among many. A box has one label, as in
        # bottom-up attention: boxes of all labels suppress each other.
        rcnn=dict(
            score_thr=0.001,
            nms=dict(type='nms', iou_threshold=0.7, class_agnostic=True),
            max_per_img=100,
        ),
    ),
)
