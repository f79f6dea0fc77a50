from collections.abc import Callable, Mapping

from torch import Tensor

from .bert import convert_bert
from .detectron2_fpn import convert_detectron2_fpn
from .rename import rename_keys, strip_prefix

WB = r'(weight|bias)'
_FUSION = r'rpn_head\.localization_fpn\.'
_ROUND = r'roi_head\.mask_head\.(\d+)\.'


def phrase_pixel_rules(fusion: str) -> tuple[tuple[str, str], ...]:
    """Names that the official PPMN and DRMN have in common.

    Args:
        fusion: This project's name of the semantic FPN, such as ``'neck.1'``.

    Returns:
        Rules of :func:`~mmground.converters.rename.rename_keys`.
    """
    # A branch is [conv, norm, ReLU] and then [upsample, conv, norm, ReLU] per doubling.
    branches = [
        (
            _FUSION + rf'convs_all_levels\.(\d)\.{4 * block + offset}\.{WB}',
            rf'{fusion}.branches.\1.{2 * block}.{part}.\2',
        )
        for block in range(3)
        for offset, part in enumerate(('conv', 'gn'))
    ]
    aggregation = r'head.rounds.\1.refinement.aggregation.'
    return (
        *branches,
        (r'rpn_head\.loc_convs\.0\.weight', r'head.pixel_proj.conv.weight'),
        (rf'rpn_head\.loc_convs\.1\.{WB}', r'head.pixel_proj.gn.\1'),
        (rf'rpn_head\.init_kernels\.{WB}', r'head.query_proj.\1'),
        (_ROUND + r'loc_convs\.0\.weight', r'head.rounds.\1.pixel_proj.conv.weight'),
        (_ROUND + rf'loc_convs\.1\.{WB}', r'head.rounds.\1.pixel_proj.gn.\2'),
        (_ROUND + r'topk_attn\.(attn\..*)', aggregation + r'attention.\2'),
        (_ROUND + rf'topk_norm\.{WB}', aggregation + r'attention_norm.\2'),
        (_ROUND + r'ffn_pre\.(layers\..*)', aggregation + r'ffn.\2'),
        (_ROUND + rf'ffn_norm_pre\.{WB}', aggregation + r'ffn_norm.\2'),
        (_ROUND + rf'mask_fcs\.(\d)\.{WB}', r'head.rounds.\1.query_mlp.\2.\3'),
        (_ROUND + rf'fc_mask\.{WB}', r'head.rounds.\1.query_mlp.9.\2'),
    )


_RULES = (
    *phrase_pixel_rules('neck.1'),
    (_FUSION + rf'conv_pred\.0\.{WB}', r'neck.1.out_conv.conv.\1'),
    (_FUSION + rf'conv_pred\.1\.{WB}', r'neck.1.out_conv.gn.\1'),
)
# Half of the published network never runs: the parts of the instance segmenter it began as.
_DEAD = (
    _FUSION + r'aux_convs\..*',
    _ROUND + r'(attention|attention_norm|kernel_update_conv|ffn|ffn_norm|cls_fcs|fc_cls)\..*',
)


def convert_ppmn_head(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Map the official PPMN network (``model_state``) to the semantic FPN and the head.

    Args:
        state_dict: Published parameters.

    Returns:
        Parameters under ``neck.1.`` and ``head.``, and the names of those without use.

    Raises:
        ValueError: If the layout is another.
    """
    return rename_keys(strip_prefix(state_dict, 'module.'), _RULES, _DEAD)


def convert_ppmn(checkpoint: Mapping[str, Mapping]) -> tuple[dict[str, Tensor], list[str]]:
    """Map a whole official PPMN checkpoint to a :class:`Grounder`'s parameters.

    Args:
        checkpoint: The loaded file, with ``model_state``, ``fpn_model_state`` and
            ``bert_model_state``.

    Returns:
        All parameters under this project's names, and the names of those without use,
        behind the name of the part that they stand in.

    Raises:
        ValueError: If a part is missing or of another layout.
    """
    return convert_parts(checkpoint, convert_ppmn_head)


def convert_parts(
    checkpoint: Mapping[str, Mapping], convert_head: Callable
) -> tuple[dict[str, Tensor], list[str]]:
    """Map the three state dicts of an official checkpoint of PPMN's layout.

    Args:
        checkpoint: As for :func:`convert_ppmn`.
        convert_head: What maps ``model_state``.

    Returns:
        As :func:`convert_ppmn`.

    Raises:
        ValueError: If a part is missing or of another layout.
    """
    missing = {'model_state', 'fpn_model_state', 'bert_model_state'} - set(checkpoint)
    if missing:
        raise ValueError(f'it lacks {sorted(missing)}')
    weights, dropped, problems = {}, [], []
    for part, convert, prefix in (
        ('fpn_model_state', convert_detectron2_fpn, ''),
        ('bert_model_state', convert_bert, 'text_encoder.'),
        ('model_state', convert_head, ''),
    ):
        try:
            converted, unused = convert(strip_prefix(checkpoint[part], 'module.'))
        except ValueError as error:
            problems.append(f'{part}: {error}')
            continue
        weights |= {f'{prefix}{name}': value for name, value in converted.items()}
        dropped += [f'{part}.{name}' for name in unused]
    if problems:
        raise ValueError('; '.join(problems))
    return weights, dropped
