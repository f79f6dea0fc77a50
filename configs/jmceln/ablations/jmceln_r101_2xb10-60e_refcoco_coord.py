# Cells know where they are: x and y beside the features of the backbone.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(fusion=dict(with_coord=True)))
