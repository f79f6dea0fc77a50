from collections.abc import Mapping

from torch import Tensor

from .rename import rename_keys, strip_prefix

_LAYER = r'encoder\.layer\.\d+\.'
_PARTS = (
    r'embeddings\.(?:word|position|token_type)_embeddings',
    r'embeddings\.LayerNorm',
    _LAYER + r'attention\.self\.(?:query|key|value)',
    _LAYER + r'attention\.output\.(?:dense|LayerNorm)',
    _LAYER + r'intermediate\.dense',
    _LAYER + r'output\.(?:dense|LayerNorm)',
)
# The pooler is never read, and the vision towers of the two-stage baseline's encoder are
# random leftovers in checkpoints of the one-stage systems. Position ids are constants.
_DEAD = (
    r'pooler\..*',
    r'encoder\.(visn_fc|single_layers|cross_layers)\..*',
    r'embeddings\.position_ids',
    r'cls\..*',
)


def convert_bert(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Map BERT weights of any common naming to :class:`BertEncoder`'s.

    Understands the prefixes ``module.``, ``model.`` and ``bert.`` (also nested) and the
    old names ``gamma`` and ``beta`` of LayerNorm's weight and bias.

    Args:
        state_dict: Published parameters.

    Returns:
        Parameters under this project's names, and the names of those without use.

    Raises:
        ValueError: If the layout is not BERT's.
    """
    for prefix in ('module.', 'model.', 'bert.', 'bert.'):
        state_dict = strip_prefix(state_dict, prefix)
    # Checkpoints of the pre-training task carry heads beside the encoder.
    state_dict = {name.removeprefix('bert.'): value for name, value in state_dict.items()}
    rules = []
    for part in _PARTS:
        rules.append((rf'({part})\.(?:weight|gamma)', r'model.\1.weight'))
        rules.append((rf'({part})\.(?:bias|beta)', r'model.\1.bias'))
    return rename_keys(state_dict, rules, _DEAD)
