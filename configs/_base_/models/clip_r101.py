# CLIP with a ResNet-101: image and text encoder. Their weights are what convert.py of
# tools/model_converters (clip) makes of OpenAI's RN101.pt.
model = dict(
    data_preprocessor=dict(
        type='GroundingDataPreprocessor',
        # CLIP's, times 255.
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='CLIPResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='data/clip-rn101/clip.pth', prefix='backbone'),
    ),
    text_encoder=dict(
        type='CLIPTextEncoder',
        embed_dim=512,
        max_length=30,
        init_cfg=dict(
            type='Pretrained', checkpoint='data/clip-rn101/clip.pth', prefix='text_encoder'
        ),
    ),
)
