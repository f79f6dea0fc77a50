"""DRMN's encoder and fusion against numbers of the official implementation."""

import numpy as np
import pytest
import torch
from parity_data import ParityData

from mmground.converters.rename import rename_keys
from mmground.models.layers.deformable_attention import DeformableAttention
from mmground.models.layers.deformable_sampling import deformable_sampling
from mmground.models.necks import DeformableEncoder, SemanticFPN

CASES = ('forward_a', 'forward_b')
WB = '(weight|bias)'
LAYER = r'encoder_head\.img_encoder\.layers\.(\d)\.'
RULES = (
    (r'encoder_head\.out_embed', 'encoder.level_embedding'),
    (rf'encoder_head\.img_encoder_pre\.(\d)\.0\.{WB}', r'encoder.projections.\1.conv.\2'),
    (rf'encoder_head\.img_encoder_pre\.(\d)\.1\.{WB}', r'encoder.projections.\1.gn.\2'),
    (LAYER + r'self_attn\.(.*)', r'encoder.layers.\1.attention.\2'),
    (LAYER + rf'norm1\.{WB}', r'encoder.layers.\1.attention_norm.\2'),
    (LAYER + rf'linear1\.{WB}', r'encoder.layers.\1.ffn.layers.0.0.\2'),
    (LAYER + rf'linear2\.{WB}', r'encoder.layers.\1.ffn.layers.1.\2'),
    (LAYER + rf'norm2\.{WB}', r'encoder.layers.\1.ffn_norm.\2'),
    # A branch is [conv, norm, ReLU] and then [upsample, conv, norm, ReLU] per doubling.
    *(
        (
            r'rpn_head\.localization_fpn\.convs_all_levels'
            rf'\.(\d)\.{4 * block + offset}\.{WB}',
            rf'fusion.branches.\1.{2 * block}.{part}.\2',
        )
        for block in range(3)
        for offset, part in enumerate(('conv', 'gn'))
    ),
)
# What belongs to the head, or to no layer that runs.
OTHERS = (r'(encoder_head\.text_encoder(_pre)?|rpn_head\.(init_kernels|loc_convs)|roi_head)\..*',)


@pytest.fixture(scope='module')
def parity():
    return ParityData('drmn')


@pytest.fixture(scope='module')
def necks(parity):
    """Encoder and fusion with the reference weights, loaded strictly."""
    weights, _ = rename_keys(parity.state_dict(), RULES, OTHERS)
    necks = torch.nn.ModuleDict(
        dict(
            encoder=DeformableEncoder(),
            fusion=SemanticFPN(strides=(8, 8, 16, 32), out_conv=False, keep_levels=True),
        )
    )
    necks.load_state_dict(weights, strict=True)
    return necks.eval()


def _tensor(array):
    return torch.from_numpy(array.astype(np.float32))


@pytest.mark.parametrize('case', CASES)
def test_memory_and_fused_map(necks, parity, case):
    arrays = parity.arrays(case)
    levels = [_tensor(arrays[f'p{i}']) for i in range(2, 6)]
    with torch.no_grad():
        fused, *memory = necks['fusion'](necks['encoder'](levels))
    expected = dict(
        zip(['fused', *(f'memory_l{i}' for i in range(4))], [fused, *memory], strict=True)
    )
    for name, ours in expected.items():
        theirs = _tensor(arrays[name])
        # Some cases hold every n-th channel only.
        ours = ours[:, :: ours.shape[1] // theirs.shape[1]]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_sampling(parity):
    arrays = {name: torch.from_numpy(array) for name, array in parity.arrays('msda').items()}
    result = deformable_sampling(
        arrays['value'].float(),
        arrays['spatial_shapes'],
        arrays['sampling_locations'].float(),
        arrays['attention_weights'].float(),
    )
    torch.testing.assert_close(result, arrays['output'], atol=1e-5, rtol=0)


def test_attention(parity):
    arrays = {name: torch.from_numpy(array) for name, array in parity.arrays('msda').items()}
    prefix = 'encoder_head.img_encoder.layers.0.self_attn.'
    attention = DeformableAttention()
    attention.load_state_dict(
        {
            name.removeprefix(prefix): weight
            for name, weight in parity.state_dict().items()
            if name.startswith(prefix)
        },
        strict=True,
    )
    query, memory, points = (
        arrays[f'module_{name}'].float() for name in ('query', 'input', 'reference_points')
    )
    assert (points == points[:, :, :1]).all(), 'the points differ between levels'
    points = points[:, :, 0]
    shapes = arrays['spatial_shapes'].tolist()
    with torch.no_grad():
        locations, weights = attention.sampling(query, points, shapes)
        result = attention(query, memory, points, shapes)
    for ours, name in (
        (locations, 'sampling_locations'),
        (weights, 'attention_weights'),
        (result, 'output'),
    ):
        torch.testing.assert_close(ours, arrays[f'module_{name}'], atol=1e-5, rtol=0)
