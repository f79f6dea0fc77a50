# Table 2, row 4: TSD and STR. L_rec of the fine stage, L_rank and L_reg of both.
_base_ = '../reir_r101_4xb10-80k_flickr30k.py'

model = dict(head=dict(graph=None, num_relations=0))
