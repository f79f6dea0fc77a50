"""PBREC-MT against numbers of the official implementation.

The weights are generated in the published file's layout and come through the conversion command,
as published ones do.
"""

import argparse
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity_data import ParityData

from mmground.apis import init_model, read_checkpoint
from mmground.models.task_modules import centerness_target, massness_target
from mmground.structures import Geometry, TextFeatures, decode_mask

CANVAS, STRIDE, GRID = (640, 640), 32, (20, 20)
CASES = ('full', 'letterbox')


@pytest.fixture(scope='module')
def parity():
    return ParityData('pbrec')


@pytest.fixture(scope='module')
def config(config_dir):
    return config_dir / '_base_' / 'models' / 'pbrec_r101.py'


@pytest.fixture(scope='module')
def converted(convert, vocab_file, folder, parity, config):
    """The whole checkpoint, through the command, without being trusted."""
    official, path = folder / 'official_pbrec.pth', folder / 'pbrec_mmground.pth'
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1e-4)
    torch.save(
        dict(
            model=parity.state_dict(),
            optimizer=optimizer.state_dict(),
            lr_scheduler=dict(last_epoch=14, _last_lr=[1e-6]),
            epoch=14,
            args=argparse.Namespace(task='boxseg', lr=1e-4, device='cuda', milestones=[1, 2]),
            val_accu=0.5,
        ),
        official,
    )
    argv = [str(official), str(path), '--vocab', str(vocab_file), '--config', str(config)]
    convert(['pbrec', *argv])
    official.unlink()
    return path


@pytest.fixture(scope='module')
def model(converted, config):
    """The model with the converted checkpoint, loaded strictly."""
    return init_model(config, converted)


@pytest.fixture(scope='module')
def cases(parity):
    """By case, its arrays in float32 where they are numbers."""
    arrays = parity.arrays('encoder')
    return {
        case: {
            name.removeprefix(f'{case}_'): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(f'{case}_')
        }
        for case in CASES
    }


def _text(hidden, mask):
    is_token = mask.bool()
    offsets = torch.zeros(*mask.shape, 2, dtype=torch.int64)
    truncated = torch.zeros(len(mask), dtype=torch.bool)
    return TextFeatures(hidden.float(), is_token, offsets, is_token, truncated)


def _valid(rect):
    """The valid points of an image at a place (top, left, height, width) of the canvas."""
    top, left, height, width = rect.tolist()
    geometry = Geometry((height, width), (height, width), (top, left), canvas_shape=CANVAS)
    return geometry.valid_cells(GRID, 'corner')


def _inputs(arrays, length=None):
    text = _text(arrays['hidden'][:, :length], arrays['text_mask'][:, :length])
    valid = _valid(arrays['rect'])[None]
    return (arrays['c5'].float(),), text, torch.zeros(1, dtype=torch.int64), valid


def _assert_scores(logits, arrays, valid):
    for task, name in (('rec', 'box_score'), ('res', 'seg_score')):
        own, theirs = logits[task], arrays[name].reshape(logits[task].shape)
        assert len(own) == 6
        own, theirs = own[:, valid], theirs[:, valid]
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize('case', CASES)
def test_padding_of_the_grid(cases, case):
    valid = _valid(cases[case]['rect'])
    assert torch.equal(~valid.flatten()[None], cases[case]['grid_pad'])
    assert valid.all() == (case == 'full')


@pytest.mark.parametrize('case', CASES)
def test_scores_after_all_layers(model, cases, case):
    arrays = cases[case]
    inputs = _inputs(arrays)
    with torch.no_grad():
        logits = model.head(*inputs, all_layers=True)
    _assert_scores(logits, arrays, inputs[-1].flatten(1))


@pytest.mark.parametrize('case', CASES)
def test_padding_of_the_text_need_not_be_computed(model, cases, case):
    arrays = cases[case]
    length = int(arrays['text_mask'].sum())
    assert length < arrays['text_mask'].shape[1]
    inputs = _inputs(arrays, length)
    with torch.no_grad():
        logits = model.head(*inputs, all_layers=True)
    _assert_scores(logits, arrays, inputs[-1].flatten(1))


def test_the_last_layer_alone_gives_its_scores(model, cases):
    inputs = _inputs(cases['full'])
    with torch.no_grad():
        every, last = (model.head(*inputs, all_layers=flag) for flag in (True, False))
    for task in every:
        assert torch.equal(last[task], every[task][-1:])


@pytest.mark.parametrize('case', CASES)
def test_tokens_inside_the_encoder(model, cases, case):
    arrays, head = cases[case], model.head
    inputs, outputs, source = [], [], []
    hooks = [
        head.fusion.input_norm.register_forward_pre_hook(lambda _, args: source.append(args[0]))
    ]
    for layer in head.fusion.layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args: inputs.append(args)))
        hooks.append(layer.register_forward_hook(lambda _, args, out: outputs.append(out)))
    with torch.no_grad():
        head(*_inputs(arrays))
        for hook in hooks:
            hook.remove()
        # Of the last layer the head needs the points only.
        sequence, positions, mask, _ = inputs[-1]
        outputs[-1] = head.fusion.layers[-1](sequence, positions, mask, sequence.shape[1])
        states = torch.stack([head.fusion.output_norm(output) for output in outputs])
    index = arrays['probe_index']
    padding = torch.cat((arrays['grid_pad'], ~arrays['text_mask'].bool()), 1)[0, index]
    # The codes of points on the padding depend on the machine's sine of large numbers.
    kept = ~padding | (index >= GRID[0] * GRID[1])
    index = index[kept]
    for ours, name in (
        (source[0][0, index], 'probe_source'),
        (positions[0, index], 'probe_pos'),
        (states[:, 0, index].flatten(0, 1), 'probe_hs'),
    ):
        theirs = arrays[name]
        theirs = theirs[:, kept].flatten(0, 1) if theirs.dim() == 3 else theirs[kept]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert kept.any() and (index >= GRID[0] * GRID[1]).any()


@pytest.mark.parametrize('case', CASES)
def test_attention_of_the_last_layer(model, cases, case):
    """What [CLS] reads, recomputed from the weights of the layer."""
    inputs = []
    layer = model.head.fusion.layers[-1]
    hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args))
    features = _inputs(cases[case])
    with torch.no_grad():
        _, attention = model.head.encode(*features, return_attention=True)
        hook.remove()
        sequence, positions, mask, num_points = inputs[0]
        placed = (sequence + positions)[0]
        weights = layer.attention.in_proj_weight.chunk(3)
        biases = layer.attention.in_proj_bias.chunk(3)
        query = (placed[num_points] @ weights[0].T + biases[0]).view(8, 32)
        keys = (placed @ weights[1].T + biases[1]).view(-1, 8, 32)
        scores = torch.einsum('hd,shd->hs', query, keys) / 32**0.5
        expected = scores.masked_fill(mask, float('-inf')).softmax(-1).mean(0)
    torch.testing.assert_close(attention[0], expected[:num_points], atol=1e-6, rtol=0)
    assert (attention[0][mask[0, :num_points]] == 0).all()


def test_several_texts_of_an_image(model, cases):
    """Two images, three texts, in any order: each gets what it gets alone."""
    pairs = [_inputs(cases[case]) for case in CASES]
    order = torch.tensor([1, 0, 1])
    texts = [text for _, text, _, _ in pairs]
    pieces = torch.cat([texts[0].pieces, texts[1].pieces, texts[0].pieces])
    is_token = torch.cat([texts[0].is_token, texts[1].is_token, texts[0].is_token])
    feats = (torch.cat([feats[0] for feats, *_ in pairs]),)
    valid = torch.cat([own for *_, own in pairs])
    with torch.no_grad():
        together = model.head(feats, _text(pieces, is_token), order, valid)
        for row, (text, image) in enumerate(((0, 1), (1, 0), (0, 1))):
            alone = model.head(
                pairs[image][0],
                texts[text],
                torch.zeros(1, dtype=torch.int64),
                pairs[image][3],
            )
            for task, own in together.items():
                torch.testing.assert_close(own[:, row], alone[task][:, 0], atol=1e-5, rtol=0)


def test_backbone(model, parity):
    arrays = {name: torch.from_numpy(array) for name, array in parity.arrays('backbone').items()}
    means = {}
    hooks = [
        getattr(model.backbone, f'layer{stage}').register_forward_hook(
            lambda _, args, out, stage=stage: means.__setitem__(stage + 1, out.mean((2, 3)))
        )
        for stage in (1, 2, 3)
    ]
    with torch.no_grad():
        (c5,) = model.backbone(arrays['image'])
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(c5, arrays['c5'], atol=1e-3, rtol=0)
    for stage, mean in means.items():
        theirs = arrays[f'c{stage}_mean'].view_as(mean)
        torch.testing.assert_close(mean, theirs, atol=1e-4, rtol=0)
    assert sorted(means) == [2, 3, 4]


def test_backbone_of_a_detr(convert, folder, parity, model, config):
    """The same weights from a detector's file."""
    published, path = folder / 'detr-r101.pth', folder / 'backbone.pth'
    weights = {
        name: value for name, value in parity.state_dict().items() if name.startswith('backbone.0.')
    }
    assert len(weights) == 520
    detector = {
        'transformer.encoder.layers.0.norm1.weight': torch.ones(2),
        'query_embed.weight': torch.ones(2, 2),
        'class_embed.bias': torch.ones(2),
    }
    torch.save(
        dict(model={**weights, **detector}, args=argparse.Namespace(lr_backbone=1e-5)), published
    )
    convert(['detr-backbone', str(published), str(path), '--config', str(config)])
    checkpoint = read_checkpoint(str(path))
    assert checkpoint['meta']['num_dropped'] == 3
    ours = {f'backbone.{name}': value for name, value in model.backbone.state_dict().items()}
    assert checkpoint['state_dict'].keys() == ours.keys()
    for name, value in ours.items():
        assert torch.equal(checkpoint['state_dict'][name], value), name


def _on_canvas(pixels, rect, preprocessor):
    """An image (h, w, 3), RGB, at its place; the padding is zero after normalisation."""
    top, left, height, width = rect.tolist()
    image = pixels.permute(2, 0, 1)[None].float() / 255
    image = F.interpolate(image, (height, width), mode='bilinear', align_corners=False)[0]
    image = (image * 255 - preprocessor.mean) / preprocessor.std
    canvas = torch.zeros(3, *CANVAS)
    canvas[:, top : top + height, left : left + width] = image
    return canvas


def test_forward_of_a_batch(model, parity):
    arrays = {name: torch.from_numpy(array) for name, array in parity.arrays('forward').items()}
    images = [
        _on_canvas(arrays[f'image{i}_u8'], arrays['rect'][i], model.data_preprocessor)
        for i in range(2)
    ]
    valid = torch.stack([_valid(rect) for rect in arrays['rect']])
    assert torch.equal(~valid.flatten(1), arrays['grid_pad'])
    with torch.no_grad():
        feats = model.encode_image(torch.stack(images))
        hidden = model.text_encoder.encode(arrays['input_ids'], arrays['text_mask'].long())
        logits = model.head(
            feats, _text(hidden, arrays['text_mask']), torch.arange(2), valid, all_layers=True
        )
    torch.testing.assert_close(hidden, arrays['bert_hidden'], atol=2e-5, rtol=0)
    (c5,) = feats
    cells = c5.flatten(2)[..., arrays['c5_cells'].long()]
    torch.testing.assert_close(cells, arrays['c5_probe'], atol=1e-3, rtol=0)
    torch.testing.assert_close(c5.mean((2, 3)), arrays['c5_channel_mean'], atol=1e-3, rtol=0)
    for task, name in (('rec', 'box_score'), ('res', 'seg_score')):
        own, theirs = (scores[:, valid.flatten(1)] for scores in (logits[task], arrays[name]))
        torch.testing.assert_close(own, theirs, atol=2e-5, rtol=0)


def test_dead_parameters_are_the_known_ones(converted, parity, model):
    meta = read_checkpoint(str(converted))['meta']
    assert (meta['system'], meta['source']) == ('pbrec', 'official_pbrec.pth')
    shapes = parity.shapes()
    assert len(shapes) == 832
    counters = sum(name.endswith('num_batches_tracked') for name in model.state_dict())
    vocabulary = 1
    assert len(model.state_dict()) == 832 - meta['num_dropped'] + counters + vocabulary
    assert meta['dropped'] == {
        'backbone.*.fpn_inner*': 4,
        'backbone.*.top_blocks.p*': 4,
        'bert.pooler.dense': 2,
        'ca.ca.layers.*.norm*': 12,
        # Computed.
        'position_embedding': 1,
    }


@pytest.fixture(scope='module')
def targets(parity):
    """The cases' numbers, and the boxes on the canvas, xyxy."""
    arrays = parity.arrays('targets')
    boxes = []
    records = json.loads((parity.root / 'targets.json').read_text())
    for record, rect in zip(records, arrays['rect'], strict=True):
        # As the official transforms: whole numbers of pixels, one scale for both axes.
        x, y, width, height = (int(value) for value in record['bbox_xywh'])
        scale = CANVAS[0] / max(record['image_size_wh'])
        box = torch.tensor([x, y, x + width, y + height], dtype=torch.float32) * scale
        boxes.append(box + torch.tensor(rect[[1, 0, 1, 0]]))
    arrays['boxes'] = torch.stack(boxes)
    for name in ('mask_first', 'mask_union'):
        arrays[name] = torch.from_numpy(np.unpackbits(arrays[name], axis=-1)).bool()
    return arrays


def test_boxes_of_the_targets(targets):
    corner, other = targets['boxes'][:, :2], targets['boxes'][:, 2:]
    ours = torch.cat(((corner + other) / 2, other - corner), 1) / CANVAS[0]
    torch.testing.assert_close(ours, torch.from_numpy(targets['box_cxcywh']), atol=0, rtol=0)


def test_official_centerness(targets):
    """Also where float32 makes another map than exact arithmetic."""
    assert not targets['center_f64_same'].all()
    ours = centerness_target(targets['boxes'], GRID, STRIDE, 'official')
    theirs = torch.from_numpy(targets['center_official'])
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_official_massness(targets):
    ours = massness_target(targets['mask_first'], STRIDE, 'official')
    assert torch.equal(ours, torch.from_numpy(targets['mass_official']))


def test_official_massness_of_a_mask_of_the_original_image(targets, parity):
    """Resized to the canvas as the model does it, where the official code scales the polygon."""
    records = json.loads((parity.root / 'targets.json').read_text())
    resized = 0
    for index, record in enumerate(records):
        width, height = record['image_size_wh']
        scale = CANVAS[0] / max(width, height)
        top, left, *_ = targets['rect'][index].tolist()
        geometry = Geometry(
            (height, width),
            (round(height * scale), round(width * scale)),
            (top, left),
            canvas_shape=CANVAS,
            ratio=scale,
        )
        mask = torch.from_numpy(decode_mask(record['segmentation'][:1], (height, width)))
        on_canvas = geometry.masks(mask[None]) > 0.5
        ours = massness_target(on_canvas, STRIDE, 'official')[0]
        theirs = torch.from_numpy(targets['mass_official'][index])
        # Along an edge through a cell, less than a row of its pixels.
        tolerance = 0 if scale == 1 else 1 / STRIDE
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)
        resized += scale != 1
    assert resized > 2


def test_paper_centerness(targets):
    # The published numbers start from the normalised box.
    centre, size = torch.from_numpy(targets['box_cxcywh']).double().split(2, 1)
    boxes = torch.cat((centre - size / 2, centre + size / 2), 1) * CANVAS[0]
    ours = centerness_target(boxes, GRID, STRIDE, 'paper')
    theirs = torch.from_numpy(targets['center_paper'])
    kept = ~targets['center_paper_on_boundary']
    assert kept.sum() > len(kept) / 2
    torch.testing.assert_close(ours[kept], theirs[kept], atol=1e-6, rtol=0)


def test_paper_massness(targets):
    ours = massness_target(targets['mask_union'], STRIDE, 'paper')
    theirs = torch.from_numpy(targets['mass_paper'])
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_losses_and_gradients(model, parity):
    arrays = {name: torch.from_numpy(array) for name, array in parity.arrays('loss').items()}
    logits = {
        task: arrays[f'{name}_score'].requires_grad_()
        for task, name in (('rec', 'box'), ('res', 'seg'))
    }
    targets = dict(rec=arrays['center_target'], res=arrays['mass_target'])
    losses = model.head.loss_by_feat(
        logits, targets, torch.zeros_like(arrays['mass_target'], dtype=torch.bool)
    )
    for task, name in (('rec', 'box'), ('res', 'seg')):
        torch.testing.assert_close(
            losses[f'loss_{task}'].detach(), arrays[f'{name}_loss'], atol=1e-6, rtol=0
        )
    total = losses['loss_rec'] + losses['loss_res']
    torch.testing.assert_close(total.detach(), arrays['total_loss'], atol=1e-6, rtol=0)
    total.backward()
    for task, name in (('rec', 'box'), ('res', 'seg')):
        gradient = logits[task].grad
        assert not gradient[:-1].any()
        torch.testing.assert_close(gradient[-1], arrays[f'grad_{name}_last'], atol=1e-8, rtol=0)
