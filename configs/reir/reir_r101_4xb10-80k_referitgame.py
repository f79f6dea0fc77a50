# ReIR on ReferItGame. An expression is one phrase, so there are no relations; and normalisation,
# which has nothing but one phrase in an image, takes the statistics of the batch. The paper has its
# settings in a supplement that is not available: these are of this project.
_base_ = [
    '../_base_/models/reir_r101.py',
    '../_base_/datasets/referitgame.py',
    '../_base_/schedules/reir_80k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    text_encoder=dict(vocab_file='data/refcoco/vocab_refclef.txt', extra_words=[]),
    head=dict(
        graph=None,
        num_relations=0,
        loss_rel=None,
        per_image_bn=False,
        similarity=dict(classes={{_base_.proposals}}),
        decoder=dict(vocab_file='data/refcoco/phrase_vocab_refclef.txt'),
    ),
)
custom_hooks = [
    dict(type='FiniteLossHook'),
    dict(type='FrozenWeightsHook'),
    dict(type='ExactResumeHook'),
    dict(type='BroadcastBuffersHook'),
    dict(type='RefinementStartHook', start=7501),
    dict(type='ProposalCategoriesHook'),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=2500, save_best='phrases/Acc@0.5', rule='greater')
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=40)
