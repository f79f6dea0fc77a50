# PPMN with small widths, trained from scratch on Grounding Shapes on two CPU cores.
_base_ = [
    '../_base_/models/ppmn_r101-fpn.py',
    '../_base_/datasets/png_shapes.py',
    '../_base_/default_runtime.py',
]

neck_channels = 64
channels = 128
text_channels = 128
max_iters = 3600

model = dict(
    backbone=dict(
        depth=18,
        base_channels=32,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
    ),
    neck=[
        dict(
            type='mmdet.FPN', in_channels=[32, 64, 128, 256], out_channels=neck_channels, num_outs=4
        ),
        dict(type='SemanticFPN', in_channels=neck_channels, channels=neck_channels, out_stride=8),
    ],
    text_encoder=dict(
        vocab_file={{_base_.vocab_file}},
        vocab_size=320,
        hidden_size=text_channels,
        num_layers=2,
        # A few epochs from scratch: the model underfits.
        dropout=0.0,
        num_heads=4,
        intermediate_size=4 * text_channels,
        max_positions=256,
    ),
    head=dict(
        in_channels=neck_channels,
        text_channels=text_channels,
        channels=channels,
        # The paper's form. A piece by itself, an article say, would first have to learn from
        # scratch what it belongs to; docs/en/benchmarks.md has the two side by side.
        query='phrase',
        refinement=dict(num_points=50, aggregation=dict(ffn_channels=2 * channels)),
        # Without the official dilation, which is large where a cell is an eighth of a thing.
        target_threshold=0.5,
        test_cfg=dict(keep_grid_probs=False),
    ),
    # Nothing is pre-trained here, so everything is trained.
    frozen=[],
    dropout_in_frozen=[],
)

optim_wrapper = dict(
    type='CPUAmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = dict(
    type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.1, by_epoch=False
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=1000, save_best='png/original/AR', rule='greater'),
    # Metrics stand at their iteration; the epoch, by default, is 0 throughout.
    logger=dict(log_metric_by_epoch=False),
    visualization=dict(draw=True, interval=10),
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=16)
