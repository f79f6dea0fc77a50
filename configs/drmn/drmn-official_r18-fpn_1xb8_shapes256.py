# DRMN in the form of the official code with small widths, trained from scratch on Grounding Shapes.
_base_ = '../ppmn/ppmn_r18-fpn_1xb8_shapes256.py'

channels = 64
layer = dict(feedforward_channels=channels)

model = dict(
    neck=[
        dict(type='mmdet.FPN', in_channels=[32, 64, 128, 256], out_channels=channels, num_outs=4),
        dict(type='DeformableEncoder', channels=channels, num_layers=2, layer=layer),
        dict(
            type='SemanticFPN',
            in_channels=channels,
            channels=channels,
            strides=(8, 8, 16, 32),
            out_stride=8,
            out_conv=False,
            keep_levels=True,
        ),
    ],
    head=dict(
        text_proj=True,
        refinement=dict(
            _delete_=True,
            type='DeformableRefinement',
            num_points=64,
            level=2,
            layer=layer,
            aggregation=dict(type='MCA', ffn_channels=256),
        ),
    ),
)
