# Table 3: K = 3, on Grounding Shapes.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(topk=3))
