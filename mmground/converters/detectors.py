"""FCOS and SOLO, which localise in PBREC: of their official repositories or of mmdet."""

from collections.abc import Mapping

from torch import Tensor

from .rename import add_batch_counters, rename_keys, weights_of

_WB = r'(weight|bias)'
_NORM = r'(weight|bias|running_mean|running_var)'
_BOX = 'localisers.box.detector.'
_MASK = 'localisers.mask.detector.'
_BODY = r'backbone\.body\.'

# tianzhi0549/FCOS has the names of maskrcnn-benchmark. A tower is [conv, norm, ReLU] four times;
# its pyramid begins at C3.
_OFFICIAL_FCOS = (
    (_BODY + r'stem\.(conv1\.weight)', _BOX + r'backbone.\1'),
    (_BODY + rf'stem\.bn1\.{_NORM}', _BOX + r'backbone.bn1.\1'),
    (
        _BODY + r'(layer\d\.\d+\.(?:conv\d|downsample\.0)\.weight)',
        _BOX + r'backbone.\1',
    ),
    (
        _BODY + rf'(layer\d\.\d+\.(?:bn\d|downsample\.1))\.{_NORM}',
        _BOX + r'backbone.\1.\2',
    ),
    *(
        rule
        for level in range(2, 5)
        for rule in (
            (
                rf'backbone\.fpn\.fpn_inner{level}\.{_WB}',
                _BOX + rf'neck.lateral_convs.{level - 2}.conv.\1',
            ),
            (
                rf'backbone\.fpn\.fpn_layer{level}\.{_WB}',
                _BOX + rf'neck.fpn_convs.{level - 2}.conv.\1',
            ),
        )
    ),
    (rf'backbone\.fpn\.top_blocks\.p6\.{_WB}', _BOX + r'neck.fpn_convs.3.conv.\1'),
    (rf'backbone\.fpn\.top_blocks\.p7\.{_WB}', _BOX + r'neck.fpn_convs.4.conv.\1'),
    *(
        (
            rf'rpn\.head\.{theirs}_tower\.{3 * block + offset}\.{_WB}',
            _BOX + rf'bbox_head.{ours}_convs.{block}.{part}.\1',
        )
        for theirs, ours in (('cls', 'cls'), ('bbox', 'reg'))
        for block in range(4)
        for offset, part in enumerate(('conv', 'gn'))
    ),
    (rf'rpn\.head\.cls_logits\.{_WB}', _BOX + r'bbox_head.conv_cls.\1'),
    (rf'rpn\.head\.bbox_pred\.{_WB}', _BOX + r'bbox_head.conv_reg.\1'),
    (rf'rpn\.head\.centerness\.{_WB}', _BOX + r'bbox_head.conv_centerness.\1'),
    (r'rpn\.head\.scales\.(\d)\.scale', _BOX + r'bbox_head.scales.\1.scale'),
)
# Early versions of mmdet called the predictors by the detector.
_MMDET_FCOS = (
    (rf'bbox_head\.fcos_(cls|reg|centerness)\.{_WB}', _BOX + r'bbox_head.conv_\1.\2'),
    (r'((?:backbone|neck|bbox_head)\..*)', _BOX + r'\1'),
)
# WXinlong/SOLO is built on the first mmdet.
_SOLO = (
    (r'bbox_head\.ins_convs\.(.*)', _MASK + r'mask_head.mask_convs.\1'),
    (r'bbox_head\.cate_convs\.(.*)', _MASK + r'mask_head.cls_convs.\1'),
    (rf'bbox_head\.solo_ins_list\.(\d)\.{_WB}', _MASK + r'mask_head.conv_mask_list.\1.\2'),
    (rf'bbox_head\.solo_cate\.{_WB}', _MASK + r'mask_head.conv_cls.\1'),
    (r'((?:backbone|neck|mask_head)\..*)', _MASK + r'\1'),
)


def convert_fcos(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map an FCOS to the detector of a :class:`FCOSLocaliser`.

    The official repository's files and those of mmdet have the same parts, but do not predict the
    same: whether distances are exponentials or multiples of the stride
    (``norm_on_bbox``), and on which branch centerness is (``centerness_on_reg``), is in the
    detector's config only.

    Args:
        checkpoint: The loaded file, with ``model`` (official) or ``state_dict`` (mmdet), or the
            weights alone.

    Returns:
        Parameters under ``localisers.box.detector.``, and an empty list: everything is used.

    Raises:
        ValueError: If the layout is another.
    """
    weights = weights_of(checkpoint)
    official = any(name.startswith('rpn.head.') for name in weights)
    renamed, dropped = rename_keys(weights, _OFFICIAL_FCOS if official else _MMDET_FCOS)
    if not any(name.startswith(f'{_BOX}bbox_head.conv_centerness.') for name in renamed):
        raise ValueError('it has no centerness, so it is another detector')
    if official:
        add_batch_counters(renamed)
        for name, value in renamed.items():
            if name.endswith('.scale'):
                # A list of one number there, a number here.
                renamed[name] = value.reshape(())
    return renamed, dropped


def convert_solo(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map a SOLO (version 1, not decoupled) to the detector of a :class:`SOLOLocaliser`.

    Args:
        checkpoint: The loaded file, with ``state_dict``, or the weights alone.

    Returns:
        Parameters under ``localisers.mask.detector.``, and an empty list: everything is used.

    Raises:
        ValueError: If the layout is another.
    """
    renamed, dropped = rename_keys(weights_of(checkpoint), _SOLO)
    if not any(name.startswith(f'{_MASK}mask_head.conv_mask_list.') for name in renamed):
        raise ValueError('it has no kernel for each cell of a grid, so it is another detector')
    return renamed, dropped
