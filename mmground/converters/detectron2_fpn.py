from collections.abc import Mapping

from torch import Tensor

from .rename import add_batch_counters, rename_keys

_NORM = r'(weight|bias|running_mean|running_var)'
_UP = r'backbone\.bottom_up\.'
_RULES = (
    (_UP + r'stem\.conv1\.weight', r'backbone.conv1.weight'),
    (_UP + rf'stem\.conv1\.norm\.{_NORM}', r'backbone.bn1.\1'),
    *(
        rule
        for stage in range(2, 6)
        for rule in (
            (
                _UP + rf'res{stage}\.(\d+)\.conv(\d)\.weight',
                rf'backbone.layer{stage - 1}.\1.conv\2.weight',
            ),
            (
                _UP + rf'res{stage}\.(\d+)\.conv(\d)\.norm\.{_NORM}',
                rf'backbone.layer{stage - 1}.\1.bn\2.\3',
            ),
            (
                _UP + rf'res{stage}\.0\.shortcut\.weight',
                rf'backbone.layer{stage - 1}.0.downsample.0.weight',
            ),
            (
                _UP + rf'res{stage}\.0\.shortcut\.norm\.{_NORM}',
                rf'backbone.layer{stage - 1}.0.downsample.1.\1',
            ),
        )
    ),
    *(
        rule
        for level in range(4)
        for rule in (
            (
                rf'backbone\.fpn_lateral{level + 2}\.(weight|bias)',
                rf'neck.0.lateral_convs.{level}.conv.\1',
            ),
            (
                rf'backbone\.fpn_output{level + 2}\.(weight|bias)',
                rf'neck.0.fpn_convs.{level}.conv.\1',
            ),
        )
    ),
)
# The detector's own heads, and a wrapper that the published grounding code added unused.
_DEAD = (r'pixel_(mean|std)', r'(proposal_generator|roi_heads|sem_seg_head|fpn_wrapper)\..*')


def convert_detectron2_fpn(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], list[str]]:
    """Map a Detectron2 ResNet + FPN to mmdet's ``ResNet(style='caffe')`` and ``FPN``.

    Args:
        state_dict: Published parameters of a (panoptic) FPN model.

    Returns:
        Parameters under ``backbone.`` and ``neck.0.``, and the names of those without use.

    Raises:
        ValueError: If the layout is another.
    """
    renamed, dropped = rename_keys(state_dict, _RULES, _DEAD)
    add_batch_counters(renamed)
    return renamed, dropped
