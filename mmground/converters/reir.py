from collections.abc import Mapping

import torch
from torch import Tensor

from .rename import add_batch_counters, rename_keys, weights_of

_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_WB = r'(weight|bias)'
_BLOCK = (
    r'((?:conv\d|downsample\.0)\.weight|'
    r'(?:bn\d|downsample\.1)\.(?:weight|bias|running_mean|running_var|num_batches_tracked))'
)
_HEAD = r'weakly_vg_head\.'
# The stem and stages of a ResNet, numbered as in the sequence that ReIR made of them.
_BACKBONE = (
    (r'RCNN_base\.0\.weight', r'backbone.conv1.weight'),
    (rf'RCNN_base\.1\.{_NORM}', r'backbone.bn1.\1'),
    *((rf'RCNN_base\.{3 + n}\.(\d+)\.{_BLOCK}', rf'backbone.layer{n}.\1.\2') for n in (1, 2, 3)),
    (rf'RCNN_top\.0\.(\d+)\.{_BLOCK}', r'region_encoder.layer4.\1.\2'),
)
_RULES = (
    *_BACKBONE,
    (_HEAD + r'phrase_embed\.enc_embedding\.weight', r'text_encoder.embedding.weight'),
    (_HEAD + r'phrase_embed\.sent_rnn\.(\w+)', r'text_encoder.rnn.\1'),
    (_HEAD + rf'spatial_trans\.0\.{_WB}', r'head.spatial_embedding.\1'),
    (_HEAD + rf'visual_embedding\.0\.{_WB}', r'head.visual_embedding.\1'),
    (_HEAD + rf'vis_batchnorm\.{_NORM}', r'head.visual_norm.\1'),
    (_HEAD + rf'phr_batchnorm\.{_NORM}', r'head.phrase_norm.\1'),
    (_HEAD + rf'similarity_fc\.0\.{_WB}', r'head.matcher.layers.0.\1'),
    (_HEAD + rf'box_reg_fc\.([02])\.{_WB}', r'head.box_regressor.layers.\1.\2'),
    (_HEAD + rf'rel_trans\.{_WB}', r'head.graph.edge_proj.\1'),
    (_HEAD + rf'agg_trans\.0\.{_WB}', r'head.graph.message.\1'),
    (_HEAD + r'dec_phrase_gru\.(\w+)', r'head.decoder.rnn.\1'),
    (_HEAD + rf'vis2phr\.{_WB}', r'head.decoder.classifier.\1'),
    (_HEAD + rf'relation_merge\.0\.{_WB}', r'head.relation.0.\1'),
    (_HEAD + rf'vis2rel\.{_WB}', r'head.relation.2.\1'),
    (_HEAD + rf'visual_mlp\.{_WB}', r'head.image_proj.\1'),
    (_HEAD + rf'sent_mlp\.{_WB}', r'head.sentence_proj.\1'),
)
# One module under several names.
_COPIES = (
    ('backbone.RCNN_base.', 'RCNN_base.'),
    ('backbone_base.', 'RCNN_base.'),
    ('backbone.RCNN_top.', 'RCNN_top.'),
    ('backbone_top.', 'RCNN_top.'),
    ('weakly_vg_head.rcnn_top.', 'RCNN_top.'),
)
# The other heads of the detector that the backbone is of.
_DEAD = (r'RCNN_(rpn|cls_score|bbox_pred|attr\w*|roi_\w+|proposal_target)\b.*', r'cls_embed\w*\..*')


def convert_reir(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map an official ReIR checkpoint to a :class:`Grounder`'s parameters.

    Args:
        checkpoint: The loaded file: ``model``, or the weights alone. It holds the frozen backbone
            several times, under different names.

    Returns:
        Parameters of all parts under this project's names, and the names of the copies.

    Raises:
        ValueError: If it is of another layout, or the copies of a weight differ.
    """
    weights, dropped, differing = {}, [], []
    for name, value in weights_of(checkpoint).items():
        own = name
        for prefix, common in _COPIES:
            if name.startswith(prefix):
                own = common + name.removeprefix(prefix)
                break
        if own not in weights:
            weights[own] = value
        elif torch.equal(weights[own], value):
            dropped.append(name)
        else:
            differing.append(name)
    if differing:
        raise ValueError(
            'the copies of the backbone, which is frozen, differ: ' + ', '.join(differing)
        )
    renamed, _ = rename_keys(weights, _RULES)
    add_missing_counters(renamed)
    return renamed, dropped


def convert_bottom_up(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map the ResNet-101 of a bottom-up-attention detector to backbone and region encoder.

    ReIR starts from ``bottomup_pretrained_10_100.pth``.

    Args:
        checkpoint: The loaded file: ``model``, or the weights alone.

    Returns:
        Parameters under ``backbone.`` and ``region_encoder.``, and the names of the detector's
        others.

    Raises:
        ValueError: If it is of another layout.
    """
    renamed, dropped = rename_keys(weights_of(checkpoint), _BACKBONE, _DEAD)
    add_missing_counters(renamed)
    return renamed, dropped


def add_missing_counters(weights: dict[str, Tensor]) -> None:
    """Give normalisation its counters of batches where the file is older than those, in place."""
    own = {name: value for name, value in weights.items() if name.endswith('_batches_tracked')}
    add_batch_counters(weights)
    weights |= own
