_base_ = './clip_r101.py'
model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='data/clip-rn50/clip.pth')),
    text_encoder=dict(embed_dim=1024, init_cfg=dict(checkpoint='data/clip-rn50/clip.pth')),
)
