# DRMN in the form of its paper with small widths, trained on Grounding Shapes on the same frozen
# encoders. Maps are supervised at stride 4, as those that it is compared with.
_base_ = './drmn-official_r18-fpn_1xb8_shapes256.py'

channels = 64
layer = dict(
    num_heads=2,
    feedforward_channels=channels,
    dropout=0.0,
    residual='attention',
    ffn_residual=False,
)

model = dict(
    neck=[
        _base_.model.neck[0],
        dict(
            type='DeformableEncoder',
            channels=channels,
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
                scale='all', split_heads=True, norm_order='double_residual', dropout=0.0
            ),
        ),
        loss_dice=dict(naive_dice=True),
        supervise_initial=False,
    ),
)
