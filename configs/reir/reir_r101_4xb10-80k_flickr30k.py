# ReIR on Flickr30k Entities with the official code's recipe: Table 2's last row.
_base_ = [
    '../_base_/models/reir_r101.py',
    '../_base_/datasets/flickr30k_entities.py',
    '../_base_/schedules/reir_80k.py',
    '../_base_/default_runtime.py',
]

# Proposals carry the names of their detector's categories.
model = dict(head=dict(similarity=dict(classes={{_base_.proposals}})))
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
# Losses are sums over the pairs of a GPU: the rate belongs to 10 of them, on 4 GPUs.
auto_scale_lr = dict(enable=False, base_batch_size=40)
