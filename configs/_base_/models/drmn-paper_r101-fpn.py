# DRMN as its paper writes it: Alg. 1 and Eqs. 1-17.
_base_ = './drmn_r101-fpn.py'

# Eq. 8
layer = dict(residual='attention', ffn_residual=False, feedforward_channels=256, dropout=0.1)

model = dict(
    neck=[
        dict(type='mmdet.FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
        dict(
            type='DeformableEncoder',
            channels=256,
            num_layers=2,
            project_levels=False,
            level_embedding=False,
            position_code='normalized',
            positions_in_each_layer=False,
            fixed_values=True,
            layer=layer,
        ),
        dict(type='LevelAverage', out_level=1),
    ],
    head=dict(
        pixel_proj='none',
        text_proj=False,
        matching_round=dict(type='RefinedPixelRound'),
        refinement=dict(
            level=None,
            position='pixel',
            max_seg_num=None,
            layer=layer,
            aggregation=dict(
                scale='all', split_heads=True, norm_order='double_residual', dropout=0.1
            ),
        ),
        loss_dice=dict(naive_dice=True),
        # Line 26 of Alg. 1: maps are enlarged to the size of the image.
        supervision_scale=8,
        supervise_initial=False,
    ),
)
