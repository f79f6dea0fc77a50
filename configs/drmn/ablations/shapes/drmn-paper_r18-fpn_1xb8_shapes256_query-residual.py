# Eq. 8 with the query as its residual.
_base_ = '../../drmn-paper_r18-fpn_1xb8_shapes256.py'

neck = _base_.model.neck
neck[1].layer.residual = 'query'
model = dict(neck=neck, head=dict(refinement=dict(layer=dict(residual='query'))))
