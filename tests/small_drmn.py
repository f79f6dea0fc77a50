"""A DRMN of a few thousand parameters, in both forms."""

from small_ppmn import small_ppmn

_LAYER = dict(num_heads=2, feedforward_channels=16)
_PAPER_LAYER = dict(_LAYER, residual='attention', ffn_residual=False)
_MCA = dict(type='MCA', num_heads=2, ffn_channels=16)


def small_drmn(vocab_file, form, **refinement):
    """Config of a small DRMN, ``'official'`` or ``'paper'``; changes of its refinement."""
    cfg = small_ppmn(vocab_file)
    fpn, fusion = cfg['neck']
    head = dict(cfg['head'])
    norm_cfg = head['norm_cfg']
    if form == 'official':
        encoder = dict(type='DeformableEncoder', channels=16, norm_cfg=norm_cfg, layer=_LAYER)
        fusion = dict(fusion, strides=(8, 8, 16, 32), out_conv=False, keep_levels=True)
        changes = dict(level=2, max_seg_num=8, layer=_LAYER, aggregation=_MCA)
        head.update(text_proj=True)
    else:
        encoder = dict(
            type='DeformableEncoder',
            channels=16,
            project_levels=False,
            level_embedding=False,
            position_code='normalized',
            positions_in_each_layer=False,
            fixed_values=True,
            layer=_PAPER_LAYER,
        )
        fusion = dict(type='LevelAverage')
        aggregation = dict(
            _MCA, scale='all', split_heads=True, norm_order='double_residual', dropout=0.1
        )
        changes = dict(
            level=None,
            position='pixel',
            max_seg_num=None,
            layer=_PAPER_LAYER,
            aggregation=aggregation,
        )
        head.update(
            pixel_proj='none',
            matching_round=dict(type='RefinedPixelRound'),
            loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1e-3),
            supervision_scale=8,
            supervise_initial=False,
        )
    settings = dict(type='DeformableRefinement', num_points=4) | changes | refinement
    head['refinement'] = settings
    return dict(cfg, neck=[fpn, encoder, fusion], head=head)
