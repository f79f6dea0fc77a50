# Table 2, row 6: the embeddings never see the output of a stage.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(adaptive_context=False))
