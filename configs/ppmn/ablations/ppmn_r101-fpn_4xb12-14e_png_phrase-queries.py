# The paper's queries, Secs. 3.1-3.2: one per phrase.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(query='phrase'))
