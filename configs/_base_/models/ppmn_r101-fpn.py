# PPMN with the official code's sizes. The frozen encoders need weights. convert.py of
# tools/model_converters takes Detectron2's panoptic FPN and a BERT, "convert.py merge" puts the two
# together, and load_from names the result; or init_cfg of each part,
# dict(type='Pretrained', checkpoint='fpn.pth', prefix='backbone').
model = dict(
    type='Grounder',
    data_preprocessor=dict(
        type='GroundingDataPreprocessor',
        mean=[103.530, 116.280, 123.675],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=101,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',
    ),
    neck=[
        dict(type='mmdet.FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
        dict(type='SemanticFPN', in_channels=256, channels=256, out_stride=8),
    ],
    text_encoder=dict(type='BertEncoder', max_length=230),
    head=dict(
        type='PhrasePixelHead',
        in_channels=256,
        text_channels=768,
        channels=256,
        num_rounds=3,
        refinement=dict(
            type='LCPA',
            num_points=200,
            aggregation=dict(type='MCA', num_heads=8, ffn_channels=2048),
        ),
        loss_bce=dict(type='BCELoss', loss_weight=1.0),
        loss_dice=dict(type='mmdet.DiceLoss', eps=1e-3, loss_weight=1.0),
        test_cfg=dict(threshold=0.5, keep_grid_probs=True),
    ),
    frozen=['backbone', 'neck.0', 'text_encoder'],
    # The official training runs its frozen BERT with dropout.
    dropout_in_frozen=['text_encoder'],
)
