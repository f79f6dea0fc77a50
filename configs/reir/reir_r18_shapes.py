# ReIR with small widths on Grounding Shapes, on two CPU cores. Its detector is trained first, with
# faster-rcnn_r18_shapes.py, and writes the proposals; its backbone and its last stage, frozen,
# describe regions, which are cached.
_base_ = [
    '../_base_/models/reir_r101.py',
    '../_base_/datasets/flickr30k_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

channels = 256
max_iters = 2000
warmup_iters = 100
relations_file = 'data/shapes/flickr30k/relations.json'
# What tools/train.py writes for the detector's config.
detector_checkpoint = 'work_dirs/faster-rcnn_r18_shapes/iter_1200.pth'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        depth=18,
        base_channels=32,
        init_cfg=dict(checkpoint=detector_checkpoint, prefix='backbone.'),
    ),
    region_encoder=dict(
        depth=18,
        base_channels=32,
        # As in the detector.
        stride=2,
        init_cfg=dict(checkpoint=detector_checkpoint, prefix='roi_head.shared_head.'),
    ),
    region_cache=dict(path='work_dirs/reir_r18_shapes_regions', keep_maps=True),
    text_encoder=dict(
        vocab_file='data/shapes/words.txt',
        extra_words=[],
        embed_channels=channels,
        channels=channels,
    ),
    head=dict(
        in_channels=256,
        channels=channels,
        joint_channels=128,
        # Of one linear layer, F_cls cannot tell apart two things of a kind by the phrase.
        matcher_channels=128,
        # As the paper: what the coarse stage selects is learned from words directly.
        rec_stages=['coarse', 'fine'],
        # A caption has three phrases, which are too few for statistics of their own.
        per_image_bn=False,
        regressor_channels=64,
        similarity=dict(word_vectors='data/shapes/word_vectors.npz', classes={{_base_.proposals}}),
        graph=dict(edge_channels=128),
        decoder=dict(vocab_file='data/shapes/words.txt'),
        num_relations=relations_file,
        loss_rel=dict(class_counts=relations_file),
    ),
)

custom_hooks = [
    dict(type='FiniteLossHook'),
    dict(type='FrozenWeightsHook'),
    dict(type='ExactResumeHook'),
    dict(type='BroadcastBuffersHook'),
    # As late in the training as in the paper's.
    dict(type='RefinementStartHook', start=188),
    dict(type='ProposalCategoriesHook'),
]

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=warmup_iters, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_iters,
        end=max_iters,
        T_max=max_iters - warmup_iters,
        eta_min=0.0,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(interval=1000, save_best='phrases/Acc@0.5', rule='greater'),
)
