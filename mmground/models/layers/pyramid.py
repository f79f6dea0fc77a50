from collections.abc import Sequence

import torch.nn.functional as F
from mmdet.models.necks import FPN
from torch import Tensor, nn


def pyramid_level(neck: nn.Module | None, feats: Sequence[Tensor], level: int) -> Tensor:
    """One level of a feature pyramid, without the work for the finer ones.

    Of mmdet's ``FPN`` only the lateral and top-down path from the coarsest level to this one is
    computed. Levels behind the backbone's, such as P6, and other necks run the whole neck.

    Args:
        neck: The neck, or None for the backbone's own levels.
        feats: What the neck takes: the backbone's maps, fine to coarse, each (B, C_i, h_i, w_i).
        level: Index of the level, fine to coarse.

    Returns:
        ``neck(feats)[level]``.
    """
    if neck is None:
        return feats[level]
    if type(neck) is FPN and level < len(neck.lateral_convs):
        return fpn_level(neck, feats, level)
    return neck(feats)[level]


def fpn_level(neck: FPN, feats: Sequence[Tensor], level: int) -> Tensor:
    """One of the levels of an FPN that the backbone has, too; see :func:`pyramid_level`."""
    merged = None
    for i in reversed(range(level, len(neck.lateral_convs))):
        lateral = neck.lateral_convs[i](feats[i + neck.start_level])
        if merged is not None:
            settings = dict(neck.upsample_cfg)
            if 'scale_factor' not in settings:
                settings['size'] = lateral.shape[-2:]
            lateral = lateral + F.interpolate(merged, **settings)
        merged = lateral
    return neck.fpn_convs[level](merged)
