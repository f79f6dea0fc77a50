# F_cls of one linear layer, as in the official code, on Grounding Shapes: which of two regions of a
# category wins does not depend on the phrase.
_base_ = '../../reir_r18_shapes.py'

model = dict(head=dict(matcher_channels=None))
