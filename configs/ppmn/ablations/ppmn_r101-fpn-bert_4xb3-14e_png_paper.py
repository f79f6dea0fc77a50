# PPMN as the paper's text describes it, wherever that can be switched: all its forms together, BERT
# trained, and a total batch of 12.
_base_ = '../ppmn_r101-fpn-bert_4xb12-14e_png.py'

model = dict(
    head=dict(
        query='phrase',
        pixel_proj='linear',
        matching_round=dict(shared_context=True),
        refinement=dict(
            selection='adaptive_max_pool',
            smooth=False,
            aggregation=dict(scale='all', norm_order='sandwich', split_heads=True),
        ),
        loss_dice=dict(naive_dice=True),
        supervision_scale=1,
        # Of no effect beside query='phrase', a query a phrase; it is the paper's all the same.
        test_cfg=dict(pooling='logits'),
    )
)
train_dataloader = dict(batch_size=3)
auto_scale_lr = dict(base_batch_size=12)
