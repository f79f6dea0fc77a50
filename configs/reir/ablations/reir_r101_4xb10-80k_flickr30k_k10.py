# Table 3: K = 10.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(topk=10))
