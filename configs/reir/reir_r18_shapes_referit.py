# As reir_r18_shapes.py on the expressions of Grounding Shapes, in the layout of ReferItGame. One is
# one phrase: settings are those of reir_r101_4xb10-80k_referitgame.py.
_base_ = './reir_r18_shapes.py'

expressions = dict(
    type='ReferItGameDataset',
    data_root={{_base_.data_root}},
    data_prefix=dict(img_path='images'),
    pipeline={{_base_.train_pipeline}},
)

model = dict(head=dict(graph=None, num_relations=0, loss_rel=None))
train_dataloader = dict(dataset=dict(_delete_=True, split='train', **expressions))
val_dataloader = dict(dataset=dict(_delete_=True, split='val', test_mode=True, **expressions))
test_dataloader = dict(dataset=dict(_delete_=True, split='test', test_mode=True, **expressions))
