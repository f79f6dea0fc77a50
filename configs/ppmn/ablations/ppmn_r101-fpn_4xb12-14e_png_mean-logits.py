# What the paper averages over a phrase's pieces, Sec. 4.2: matching maps, which are logits. Only
# inference differs.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(test_cfg=dict(pooling='logits')))
