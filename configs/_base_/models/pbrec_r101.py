# PBREC-MT with the official code's sizes. Training starts from a DETR's backbone and a BERT, which
# convert.py of tools/model_converters makes of the published files (detr-backbone, bert).
model = dict(
    type='Grounder',
    data_preprocessor=dict(
        type='GroundingDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=101,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(
            type='Pretrained', checkpoint='data/detr-r101/backbone.pth', prefix='backbone'
        ),
    ),
    # Tokens, [CLS] and [SEP] included; RefCOCOg has 40.
    text_encoder=dict(
        type='BertEncoder',
        vocab_file='data/bert-base-uncased/vocab.txt',
        max_length=30,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/bert-base-uncased/bert.pth',
            prefix='text_encoder',
        ),
    ),
    head=dict(
        type='PointGroundingHead',
        in_channels=2048,
        text_channels=768,
        channels=256,
        tasks=['rec', 'res'],
        fusion=dict(
            type='VisionLanguageEncoder',
            num_layers=6,
            num_heads=8,
            feedforward_channels=1024,
            dropout=0.1,
        ),
        loss_bce=dict(type='BCELoss', loss_weight=1.0),
        # k of the IoU-based NMS, and what its proposals are ranked by.
        test_cfg=dict(topk=12, score_mode='ref*centerness'),
    ),
)
