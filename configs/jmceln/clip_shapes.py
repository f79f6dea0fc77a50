# A small CLIP trained on Grounding Shapes, on two CPU cores: the encoders that JMCELN starts from
# there, as it starts from OpenAI's on photographs. Windows around things are compared with their
# expressions, so that kinds and attributes can be learned, and places cannot.
_base_ = [
    '../_base_/models/clip_shapes.py',
    '../_base_/datasets/refcoco_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

max_iters = 1200
# A third of a picture's side, as large as on the canvas of jmceln_shapes.py.
window = 43
image_size = 64

model = dict(type='Grounder', head=dict(type='ContrastiveHead'))

train_dataloader = dict(
    batch_size=128,
    # Samples are small and many: a worker costs more than it saves.
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='SeededDefaultSampler', shuffle=True),
    drop_last=True,
    dataset=dict(
        unit='ref',
        pipeline=[
            dict(type='LoadGroundingImage'),
            dict(type='DrawSentence'),
            dict(type='CropAroundReferred', size=window),
            dict(type='Letterbox', size=image_size, interpolation='bicubic'),
            dict(type='PackGroundingInputs'),
        ],
    ),
)
# Nothing is grounded.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = dict(eta_max=1e-3, total_steps=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters + 1)
default_hooks = dict(checkpoint=dict(interval=max_iters))
auto_scale_lr = dict(base_batch_size=128)
