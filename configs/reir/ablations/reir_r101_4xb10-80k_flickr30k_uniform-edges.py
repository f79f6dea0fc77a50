# Table 2, row 6: everything, but neighbours in the graph weigh alike (w/o attention). L_rec and
# L_rel of the fine stage, L_rank and L_reg of both.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(graph=dict(edges='uniform')))
