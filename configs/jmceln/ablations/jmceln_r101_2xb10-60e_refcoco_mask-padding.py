# No embedding reads from the padding, which is left out of the loss.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(mask_padding=True))
