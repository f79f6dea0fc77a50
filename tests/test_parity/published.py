"""Names in published files whose values are never read.

In the files they are large (154 MB for the first), in the tests single numbers.
"""

DEAD_OF_BERT = (
    'model.bert.encoder.visn_fc.visn_fc.weight',
    'model.bert.encoder.single_layers.2.attention.self.query.weight',
    'model.bert.encoder.cross_layers.4.visual_attention.att.value.bias',
)
DEAD_OF_FPN = (
    'pixel_mean',
    'pixel_std',
    'proposal_generator.rpn_head.conv.weight',
    'roi_heads.box_head.fc1.weight',
    'sem_seg_head.predictor.bias',
    'fpn_wrapper.conv.weight',
)
