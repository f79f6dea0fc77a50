# The comprehension stage of PBREC-MT with the official code's sizes. Backbone and text encoder start
# from published weights: convert.py of tools/model_converters takes a DETR (detr-backbone) and a
# BERT (bert), "convert.py merge" puts the two together, and load_from names the result.
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
    ),
    # Tokens, [CLS] and [SEP] included; RefCOCOg has 40.
    text_encoder=dict(type='BertEncoder', max_length=30),
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
        targets=dict(
            rec=dict(form='official', hard=False),
            res=dict(form='official', hard=False),
        ),
        loss_bce=dict(type='BCELoss', loss_weight=1.0),
    ),
)
