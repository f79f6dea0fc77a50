# Table 2, row 3: TSD and self-taught regression (STR) from what a region looks like, without x_q.
# L_rec of the fine stage, L_rank and L_reg of both.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(regress_with_phrase=False, graph=None, num_relations=0))
