from collections.abc import Mapping

from torch import Tensor

from .bert import convert_bert
from .rename import add_batch_counters, rename_keys, strip_prefix

_WB = r'(weight|bias)'
_BODY = r'backbone\.0\.body\.'
_LAYER = r'ca\.ca\.layers\.(\d+)\.'
_OURS = r'head.fusion.layers.\1.'

_BACKBONE = (
    (_BODY + r'((?:conv1|layer\d\.\d+\.(?:conv\d|downsample\.0))\.weight)', r'backbone.\1'),
    (
        _BODY + r'((?:bn1|layer\d\.\d+\.(?:bn\d|downsample\.1))\.'
        r'(?:weight|bias|running_mean|running_var))',
        r'backbone.\1',
    ),
)
_RULES = (
    *_BACKBONE,
    (rf'backbone\.1\.fpn_inner4\.{_WB}', r'head.pixel_proj.\1'),
    (rf'txt_proj\.{_WB}', r'head.text_proj.\1'),
    (rf'ca\.norm\.{_WB}', r'head.fusion.input_norm.\1'),
    (_LAYER + r'self_attn\.(.*)', _OURS + r'attention.\2'),
    (_LAYER + rf'norm2\.{_WB}', _OURS + r'attention_norm.\2'),
    (_LAYER + rf'linear1\.{_WB}', _OURS + r'ffn.layers.0.0.\2'),
    (_LAYER + rf'linear2\.{_WB}', _OURS + r'ffn.layers.1.\2'),
    (_LAYER + rf'norm3\.{_WB}', _OURS + r'ffn_norm.\2'),
    (rf'ca\.ca\.norm\.{_WB}', r'head.fusion.output_norm.\1'),
    (rf'box_mlp\.(layers\.\d)\.{_WB}', r'head.point_mlps.rec.\1.\2'),
    (rf'seg_mlp\.(layers\.\d)\.{_WB}', r'head.point_mlps.res.\1.\2'),
)
# Levels of the backbone that nothing reads, a normalisation that is never called, and the code of
# the tokens' places, which is computed.
_DEAD = (
    r'backbone\.1\.(fpn_inner[23]|top_blocks\.p[67])\..*',
    _LAYER + r'norm1\..*',
    r'position_embedding\.pe',
)
# The rest of a detector of DETR's family.
_DEAD_OF_DETR = (r'(transformer|class_embed|bbox_embed|query_embed|input_proj)\..*',)


def convert_pbrec(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map an official PBREC or PBREC-MT checkpoint to a :class:`Grounder`'s parameters.

    Args:
        checkpoint: The loaded file, with ``model``. A single task has its own perceptron only.

    Returns:
        Parameters of the backbone, the text encoder and the head under this project's names, and
        the names of those without use.

    Raises:
        ValueError: If there is no ``model``, or it is of another layout.
    """
    state_dict = _model_of(checkpoint)
    bert = {name: value for name, value in state_dict.items() if name.startswith('bert.')}
    rest = {name: value for name, value in state_dict.items() if name not in bert}
    problems, weights, dropped = [], {}, []
    try:
        weights, dropped = rename_keys(rest, _RULES, _DEAD)
        add_batch_counters(weights)
    except ValueError as error:
        problems.append(str(error))
    try:
        text_weights, unused = convert_bert(bert)
        weights |= {f'text_encoder.{name}': value for name, value in text_weights.items()}
        dropped += [f'bert.{name}' for name in unused]
    except ValueError as error:
        problems.append(f'bert: {error}')
    if problems:
        raise ValueError('; '.join(problems))
    return weights, dropped


def convert_detr_backbone(checkpoint: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Map the backbone of a DETR to mmdet's ``ResNet(style='pytorch')``.

    PBREC starts from DETR's own, trained on all of COCO. TransVG's, trained without the images of
    RefCOCO's val and test splits, has the same layout.

    Args:
        checkpoint: The loaded file, with ``model``.

    Returns:
        Parameters under ``backbone.``, and the names of the detector's others.

    Raises:
        ValueError: If there is no ``model``, or it is of another layout.
    """
    weights, dropped = rename_keys(_model_of(checkpoint), _BACKBONE, _DEAD_OF_DETR)
    add_batch_counters(weights)
    return weights, dropped


def _model_of(checkpoint: Mapping) -> dict[str, Tensor]:
    state_dict = checkpoint.get('model')
    if not isinstance(state_dict, Mapping):
        raise ValueError("it lacks 'model', a dict of weights")
    return strip_prefix(state_dict, 'module.')
