# What the paper's rounds aggregate, Sec. 3.3: pixels of F, which all rounds share.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(matching_round=dict(shared_context=True)))
