# Table 2, row 2: two-stage denoising (TSD). L_rec of the fine stage, L_rank of both.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(regressor_channels=None, graph=None, num_relations=0))
