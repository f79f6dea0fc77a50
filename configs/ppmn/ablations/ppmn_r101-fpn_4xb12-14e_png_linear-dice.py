# The paper's Dice loss, Eq. 7: linear denominators.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(loss_dice=dict(naive_dice=True)))
