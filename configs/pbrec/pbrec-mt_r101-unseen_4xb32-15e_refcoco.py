# From a backbone that has not seen the images of RefCOCO's val and test splits: TransVG's, of a
# DETR that was trained without them.
_base_ = './pbrec-mt_r101_4xb32-15e_refcoco.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='data/detr-r101-without-refcoco/backbone.pth')))
