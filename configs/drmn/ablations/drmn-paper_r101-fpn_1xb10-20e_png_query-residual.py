# Eq. 8 with the query as its residual.
_base_ = '../drmn-paper_r101-fpn_1xb10-20e_png.py'

neck = _base_.model.neck
neck[1].layer.residual = 'query'
model = dict(neck=neck, head=dict(refinement=dict(layer=dict(residual='query'))))
