"""DRMN against numbers of the official implementation.

The weights are generated in the published file's layout and come through the conversion command.
"""

import numpy as np
import pytest
import torch
from parity_data import ParityData
from published import DEAD_OF_BERT, DEAD_OF_FPN
from small_ppmn import packed_queries

from mmground.apis import init_model, read_checkpoint
from mmground.models.heads import record_refinement
from mmground.models.heads.phrase_pixel_head import upsample
from mmground.models.layers.deformable_attention import DeformableAttention
from mmground.models.layers.deformable_sampling import deformable_sampling

CASES = ('forward_a', 'forward_b')
CONFIG = 'drmn-official_r101-fpn_1xb10-20e_png.py'


@pytest.fixture(scope='module')
def parity():
    return ParityData('drmn')


@pytest.fixture(scope='module')
def converted(convert, publish, vocab_file, folder):
    """The whole checkpoint, through the command."""
    official, path = publish('drmn'), folder / 'drmn_mmground.pth'
    convert(['drmn', str(official), str(path), '--vocab', str(vocab_file)])
    official.unlink()
    return path


@pytest.fixture(scope='module', params=CASES)
def case(request, converted, config_dir, folder, parity):
    """The model with the settings of a case, loaded strictly, and the arrays of the case."""
    arrays = parity.arrays(request.param)
    _, points, slots, layers, rounds = (int(value) for value in arrays['settings'])
    base = config_dir.resolve() / 'drmn' / CONFIG
    config = folder / f'{request.param}.py'
    settings = dict(num_points=points, max_seg_num=slots)
    config.write_text(f'_base_ = {str(base)!r}\nmodel = dict(head=dict(refinement={settings}))\n')
    model = init_model(config, converted)
    assert (len(model.neck[1].layers), len(model.head.rounds)) == (layers, rounds)
    return model, {name: _tensor(array) for name, array in arrays.items()}


def _tensor(array):
    return torch.from_numpy(array.astype(np.float32))


def _forward(model, arrays):
    """Outputs under the names of the arrays."""
    seen = {}

    def keep(name, of=lambda output: output):
        return lambda module, inputs, output: seen.__setitem__(name, of(output))

    hooks = [model.head.pixel_proj.register_forward_hook(keep('x_feats'))]
    hooks.append(model.head.query_proj.register_forward_hook(keep('kernel_0')))
    for r, own in enumerate(model.head.rounds, 1):
        part = own.refinement
        hooks.append(part.register_forward_hook(keep(f'kernel_{r}')))
        hooks.append(part.layer.register_forward_hook(keep(f'topk_feats_r{r}')))
        hooks.append(own.query_mlp.register_forward_hook(keep(f'mask_feat_r{r}')))
    levels = [arrays[f'p{i}'] for i in range(2, 6)]
    text = arrays['language'][arrays['noun_ids'] > 0]
    queries = packed_queries(text, torch.zeros(len(text), dtype=torch.int64))
    with torch.no_grad(), record_refinement(model.head) as record:
        feats = model.neck[2](model.neck[1](levels))
        maps = model.head(feats, queries)
    for hook in hooks:
        hook.remove()
    for r, own in enumerate(record.rounds, 1):
        seen |= {f'topk_r{r}': own.positions, f'attn_r{r}': own.weights}
    seen['fused'] = feats[0]
    seen |= {f'memory_l{i}': level for i, level in enumerate(feats[1:])}
    seen |= {f'stage_{r}': upsample(logits, 2) for r, logits in enumerate(maps)}
    return seen


# Largest difference to the published implementation, of which float32 itself explains a tenth.
TOLERANCES = dict(
    memory=1e-4, fused=1e-4, x=1e-4, kernel=5e-5, mask=5e-5, stage=3e-4, topk=1e-4, attn=1e-5
)


def test_head_and_its_intermediates(case):
    model, arrays = case
    ours = _forward(model, arrays)
    compared = 0
    for name, theirs in arrays.items():
        if name not in ours:
            continue
        own = ours[name]
        compared += 1
        if name.startswith('topk_r'):
            # The official order is best first.
            assert torch.equal(own.sort().values, theirs[0].long().sort().values)
            continue
        if name.startswith(('topk_feats', 'attn')):
            # Ours are in the order of our selection.
            selected = f'topk_{name.split("_")[-1]}'
            order = arrays[selected][0].long()
            place = (ours[selected][:, None] == order[..., None]).long().argmax(-1)
            if name.startswith('attn'):
                own = own.gather(1, place)
            else:
                own = own.view(theirs.shape)[0].gather(1, place[..., None].expand_as(theirs[0]))
        elif name in ('fused', 'x_feats') or name.startswith('memory'):
            # Some cases hold every n-th channel only.
            own = own[:, :: own.shape[1] // theirs.shape[1]]
        own = own.view_as(theirs)
        torch.testing.assert_close(own, theirs, atol=TOLERANCES[name.split('_')[0]], rtol=0)
    num_rounds = len(model.head.rounds)
    assert compared == 4 + 2 + (1 + num_rounds) * 2 + 2 * num_rounds + (
        2 * num_rounds if 'topk_feats_r1' in arrays else 0
    )


def test_slots_matter_and_padding_slots_do_not(case):
    model, arrays = case
    text = arrays['language'][arrays['noun_ids'] > 0]
    zeros = torch.zeros(len(text), dtype=torch.int64)
    with torch.no_grad():
        feats = model.neck[2](model.neck[1]([arrays[f'p{i}'] for i in range(2, 6)]))
        whole = model.head(feats, packed_queries(text, zeros))[-1]
        first = model.head(feats, packed_queries(text[:1], zeros[:1]))[-1]
        swapped = model.head(feats, packed_queries(text.flip(0), zeros))[-1]
    torch.testing.assert_close(first, whole[:1], atol=1e-4, rtol=0)
    assert (swapped.flip(0) - whole).abs().max() > 1e-2


def test_images_of_a_batch_do_not_mix(case):
    model, arrays = case
    text = arrays['language'][arrays['noun_ids'] > 0]
    zeros = torch.zeros(len(text), dtype=torch.int64)
    levels = [arrays[f'p{i}'] for i in range(2, 6)]
    other = [level.flip(-1) for level in levels]
    both = [torch.cat(pair) for pair in zip(levels, other, strict=True)]
    # The second image has fewer queries, so that its row is padded.
    index, texts = torch.cat((zeros, zeros[1:] + 1)), torch.cat((text, text[:-1]))
    queries = packed_queries(texts, index)
    queries.slots = torch.cat((torch.arange(len(text)), torch.arange(len(text) - 1)))
    with torch.no_grad():
        packed = model.head(model.neck[2](model.neck[1](both)), queries)[-1]
        singles = [
            model.head(model.neck[2](model.neck[1](own)), packed_queries(t, zeros[: len(t)]))[-1]
            for own, t in ((levels, text), (other, text[:-1]))
        ]
    torch.testing.assert_close(packed, torch.cat(singles), atol=3e-4, rtol=0)


def test_losses(case, parity):
    head = case[0].head
    arrays = parity.arrays('loss')
    tokens = int(arrays['num_tokens'])
    stages = [torch.from_numpy(arrays[f'stage_{r}'])[0, :tokens] for r in range(4)]
    stages[-1].requires_grad_()
    targets = torch.from_numpy(arrays['targets'])[0].float()
    bce = [head.loss_bce(stage, targets) for stage in stages]
    dice = [head.loss_dice(stage, targets) for stage in stages]
    for ours, name in ((bce, 'bce'), (dice, 'dice')):
        expected = torch.from_numpy(arrays[name])
        torch.testing.assert_close(torch.stack(ours).detach(), expected, atol=1e-5, rtol=0)
    total = sum(bce) + sum(dice)
    assert total.item() == pytest.approx(float(arrays['total']), abs=1e-5)
    total.backward()
    gradient = torch.from_numpy(arrays['grad_stage_3'])[0, :tokens]
    torch.testing.assert_close(stages[-1].grad, gradient, atol=1e-6, rtol=1e-4)


def test_dead_parameters_are_the_known_ones(converted, parity):
    checkpoint = read_checkpoint(str(converted))
    live = {
        name: value
        for name, value in checkpoint['state_dict'].items()
        if name.startswith(('neck.1.', 'neck.2.', 'head.'))
    }
    assert len(live) == 210
    assert sum(value.numel() for value in live.values()) == 12_461_696
    dropped = dict.fromkeys(('model_state', 'fpn_model_state', 'bert_model_state'), 0)
    for group, count in checkpoint['meta']['dropped'].items():
        dropped[group.split('.')[0]] += count
    pooler = 2
    assert dropped == dict(
        model_state=71,
        fpn_model_state=len(DEAD_OF_FPN),
        bert_model_state=len(DEAD_OF_BERT) + pooler,
    )
    assert len(parity.shapes()) == 281


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
