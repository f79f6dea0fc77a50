# Dice loss beside the cross-entropy.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0)))
