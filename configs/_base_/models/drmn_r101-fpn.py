# DRMN in the form of the official code. Backbone, FPN and text encoder are PPMN's, and need the
# same weights.
_base_ = './ppmn_r101-fpn.py'

model = dict(
    neck=[
        dict(type='mmdet.FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
        dict(type='DeformableEncoder', channels=256, num_layers=2),
        # The encoder's finest level has stride 8 already.
        dict(
            type='SemanticFPN',
            in_channels=256,
            channels=256,
            strides=(8, 8, 16, 32),
            out_stride=8,
            out_conv=False,
            keep_levels=True,
        ),
    ],
    head=dict(
        text_proj=True,
        num_rounds=3,
        refinement=dict(
            _delete_=True,
            type='DeformableRefinement',
            num_points=100,
            level=2,
            max_seg_num=64,
            layer=dict(feedforward_channels=256, dropout=0.1),
            aggregation=dict(type='MCA', num_heads=8, ffn_channels=2048),
        ),
    ),
    # Unlike PPMN's.
    dropout_in_frozen=[],
)
