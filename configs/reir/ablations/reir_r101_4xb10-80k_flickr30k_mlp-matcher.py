# F_cls of two layers (Eq. 2), whose score of a region depends on the phrase.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(matcher_channels=256))
