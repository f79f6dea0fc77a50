# DRMN in the form of the official code with small widths, trained on Grounding Shapes on the same
# frozen encoders as PPMN's config at this size, which says how to get them.
_base_ = '../ppmn/ppmn_r18-fpn_1xb8_shapes256.py'

channels = 64
# Heads as wide as at full size, 32 channels. Without dropout, as all shapes configs: they underfit.
layer = dict(num_heads=2, feedforward_channels=channels, dropout=0.0)

model = dict(
    neck=[
        _base_.model.neck[0],
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
