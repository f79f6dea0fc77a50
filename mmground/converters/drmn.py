from collections.abc import Mapping

from torch import Tensor

from .ppmn import WB, convert_parts, phrase_pixel_rules
from .rename import rename_keys, strip_prefix

_ENCODER = r'encoder_head\.img_encoder\.layers\.(\d+)\.'
_ROUND = r'roi_head\.mask_head\.(\d+)\.'
_LAYER = _ROUND + r'text_decoder\.cross_layer\.'
_OURS = r'head.rounds.\1.refinement.layer.'

_RULES = (
    (r'encoder_head\.out_embed', 'neck.1.level_embedding'),
    (rf'encoder_head\.img_encoder_pre\.(\d)\.0\.{WB}', r'neck.1.projections.\1.conv.\2'),
    (rf'encoder_head\.img_encoder_pre\.(\d)\.1\.{WB}', r'neck.1.projections.\1.gn.\2'),
    (_ENCODER + r'self_attn\.(.*)', r'neck.1.layers.\1.attention.\2'),
    (_ENCODER + rf'norm1\.{WB}', r'neck.1.layers.\1.attention_norm.\2'),
    (_ENCODER + rf'linear1\.{WB}', r'neck.1.layers.\1.ffn.layers.0.0.\2'),
    (_ENCODER + rf'linear2\.{WB}', r'neck.1.layers.\1.ffn.layers.1.\2'),
    (_ENCODER + rf'norm2\.{WB}', r'neck.1.layers.\1.ffn_norm.\2'),
    (rf'encoder_head\.text_encoder_pre\.0\.{WB}', r'head.text_proj.\1'),
    (_LAYER + r'cross_attn\.(.*)', _OURS + r'attention.\2'),
    (_LAYER + rf'norm1\.{WB}', _OURS + r'attention_norm.\2'),
    (_LAYER + rf'linear1\.{WB}', _OURS + r'ffn.layers.0.0.\2'),
    (_LAYER + rf'linear2\.{WB}', _OURS + r'ffn.layers.1.\2'),
    (_LAYER + rf'norm3\.{WB}', _OURS + r'ffn_norm.\2'),
    # The rest is PPMN's.
    *phrase_pixel_rules('neck.2'),
)
# A text encoder that is never called, and what the rounds inherited without using it.
_DEAD = (
    r'encoder_head\.text_encoder\..*',
    _ROUND + r'text_decoder\.out_embed',
    _LAYER + r'(self_attn|norm2)\..*',
    _ROUND + r'(ffn|ffn_norm)\..*',
)


def convert_drmn_head(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Map the official DRMN network (``HeadNet``) to encoder, fusion and head.

    Args:
        state_dict: Published parameters.

    Returns:
        Parameters under ``neck.1.``, ``neck.2.`` and ``head.``, and the names of those without
        use.

    Raises:
        ValueError: If the layout is another.
    """
    return rename_keys(strip_prefix(state_dict, 'module.'), _RULES, _DEAD)


def convert_drmn(checkpoint: Mapping[str, Mapping]) -> tuple[dict[str, Tensor], list[str]]:
    """Map a whole official DRMN checkpoint to a :class:`Grounder`'s parameters.

    Args:
        checkpoint: The loaded file, with ``model_state``, ``fpn_model_state`` and
            ``bert_model_state``.

    Returns:
        All parameters under this project's names, and the names of those without use,
        behind the name of the part that they stand in.

    Raises:
        ValueError: If a part is missing or of another layout.
    """
    return convert_parts(checkpoint, convert_drmn_head)
