# A small CLIP for Grounding Shapes.
embed_dim = 64
_base_ = './clip_r101.py'
model = dict(
    # Convolutions train in half the time.
    channels_last=True,
    backbone=dict(
        width=16,
        blocks=(1, 1, 1, 1),
        attention_pool=dict(embed_dim=embed_dim, num_heads=4, grid_size=6),
        init_cfg=None,
    ),
    text_encoder=dict(
        hidden_size=128, num_layers=2, num_heads=4, embed_dim=embed_dim, init_cfg=None
    ),
)
