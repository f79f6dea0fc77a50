# Table 2, row 5: TSD, the visual object graph and the relation loss, without STR. L_rec and L_rel
# of the fine stage, L_rank of both.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(regressor_channels=None))
