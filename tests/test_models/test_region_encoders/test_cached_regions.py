"""A training step with cached features is the step without, and stale ones are never read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import run_processes
from small_ppmn import batch
from small_reir import caption, captions, small_reir, with_vectors

from mmground.models.heads import RegionBatch
from mmground.models.region_encoders import RegionFeatureCache, coordinate_map
from mmground.registry import MODELS

ONE_SIZE = dict(other_shape=(66, 90))
BASELINE = dict(
    num_stages=1,
    graph=None,
    num_relations=0,
    rec_stages=['coarse'],
    rank_stages=['coarse'],
    regressor_channels=None,
)


def _build(folder, keep_maps=None, seed=0, parts=None, **head):
    """A model that counts the images that run through its backbone, with a cache or without."""
    cfg = small_reir(folder, **head)
    if keep_maps is not None:
        cfg['region_cache'] = dict(path=str(folder / 'cache'), keep_maps=keep_maps)
    for name, changes in (parts or {}).items():
        cfg[name].update(changes)
    torch.manual_seed(seed)
    model = with_vectors(MODELS.build(cfg)).train()
    model.seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: model.seen.append(len(args[0])))
    return model


def _losses(model, pairs):
    return model(**model.data_preprocessor(batch(*pairs)), mode='loss')


def _step(model, pairs):
    """Losses and gradients; running statistics stay."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.zero_grad()
    losses = _losses(model, pairs)
    model.parse_losses(losses)[0].backward()
    found = {name: value.detach() for name, value in losses.items()}
    found |= {
        name: value.grad.clone() for name, value in model.named_parameters() if value.requires_grad
    }
    for name, value in model.state_dict().items():
        value.copy_(state[name])
    return found


def _assert_close(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, **tolerances)


def _entries(folder):
    return sorted(folder.rglob('*.npy'))


@pytest.mark.parametrize('refining', [True, False])
@pytest.mark.parametrize('keep_maps', [True, False])
def test_a_step_is_that_without_the_cache(tmp_path, keep_maps, refining):
    pairs = captions(**ONE_SIZE)
    plain, cached = _build(tmp_path), _build(tmp_path, keep_maps)
    plain.head.refining = cached.head.refining = refining
    expected = _step(plain, pairs)
    first = _step(cached, pairs)
    # Of a relative error of half precision, 5e-4, and what the gates of the losses make of it.
    _assert_close(first, expected, atol=2e-3, rtol=2e-3)
    assert plain.seen == cached.seen == [2]
    assert len(_entries(tmp_path / 'cache')) == (4 if keep_maps else 2)
    # What is kept is what was used.
    _assert_close(_step(cached, pairs), first, atol=0, rtol=0)
    assert cached.seen == ([2, 2] if refining and not keep_maps else [2])


def test_the_backbone_does_not_run_for_one_stage(tmp_path):
    model = _build(tmp_path, False, **BASELINE)
    first = _step(model, captions())
    _assert_close(_step(model, captions()), first, atol=0, rtol=0)
    # One image at a time, because they are of two sizes.
    assert model.seen == [1, 1]


def test_a_new_image_of_a_batch_alone_is_computed(tmp_path):
    model = _build(tmp_path, True)
    pairs = captions(**ONE_SIZE)
    _step(model, pairs[:1])
    _step(model, pairs)
    assert model.seen == [1, 1]


def test_an_entry_does_not_depend_on_its_batch(tmp_path):
    """Images of other sizes do not pad it: it is what the image is alone."""
    (tmp_path / 'alone').mkdir()
    together, alone = _build(tmp_path, True), _build(tmp_path / 'alone', True)
    _step(together, captions())
    for pair in captions():
        _step(alone, [pair])
    ours, theirs = (_entries(folder / 'cache') for folder in (tmp_path, tmp_path / 'alone'))
    assert [path.relative_to(tmp_path) for path in ours] == [
        path.relative_to(tmp_path / 'alone') for path in theirs
    ]
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            *(torch.from_numpy(np.load(path)) for path in (own, other)), atol=2e-3, rtol=2e-3
        )
    # And what the region encoder says of it, uncached.
    (pair,) = captions()[1:2]
    plain = _build(tmp_path)
    data = plain.data_preprocessor(batch(pair))
    sample = data['data_samples'][0]
    boxes = sample.geometry.boxes(sample.proposals.bboxes)
    owners = torch.zeros(len(boxes), dtype=torch.int64)
    expected = plain.describe_regions(plain.encode_image(data['inputs']), boxes, owners)
    kept = [np.load(path) for path in ours]
    # Of the four that are there, the one of that many proposals.
    (found,) = (torch.from_numpy(own) for own in kept if own.shape == expected.shape)
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=2e-3)


def test_places_do_not_depend_on_the_batch(tmp_path):
    """Beside a larger image they are the same, in training, evaluation and cache."""
    spatial = dict(parts=dict(region_encoder=dict(spatial=True)), spatial_channels=98)
    plain, cached = _build(tmp_path, **spatial), _build(tmp_path, True, **spatial)
    pairs = [caption('[a star]', img_shape=(97, 131)), caption('[a ring]', 'b.jpg', (50, 61))]

    def places(model, mode, *pairs):
        data = model.data_preprocessor(batch(*pairs))
        boxes, owners = RegionBatch.pack(data['data_samples'], 'cpu').rows()
        # In place of the head's, to which it gives what describes boxes.
        setattr(model.head, mode, lambda *args: args[-1](boxes, owners, fixed=True))
        return model(**data, mode=mode)[:, -98:]

    alone = torch.cat([places(plain, 'loss', pair) for pair in pairs])
    torch.testing.assert_close(places(plain, 'loss', *pairs), alone)
    torch.testing.assert_close(places(plain, 'tensor', *pairs), alone)
    for _ in range(2):
        torch.testing.assert_close(places(cached, 'loss', *pairs), alone, atol=1e-3, rtol=0)
    # On the canvas of the batch, the smaller image's would be others.
    data = plain.data_preprocessor(batch(*pairs))
    boxes, owners = RegionBatch.pack(data['data_samples'], 'cpu').rows()
    found = plain.describe_regions(plain.encode_image(data['inputs']), boxes, owners)[:, -98:]
    torch.testing.assert_close(found[:6], alone[:6])
    assert (found[6:] - alone[6:]).abs().amax(1).min() > 0.1


def test_coordinates_by_hand():
    found = coordinate_map((3, 4), torch.tensor([[3.0, 4.0], [2.0, 3.0]]))
    assert found.shape == (2, 2, 3, 4)
    expected = torch.tensor([-1.0, -1 / 3, 1 / 3])
    torch.testing.assert_close(found[0, 0], expected[:, None].expand(3, 4))
    torch.testing.assert_close(found[0, 1], torch.tensor([-1.0, -0.5, 0.0, 0.5]).expand(3, 4))
    # Past the second one's end, its last row and column.
    torch.testing.assert_close(found[1, 0], torch.tensor([-1.0, 0, 0])[:, None].expand(3, 4))
    torch.testing.assert_close(found[1, 1], torch.tensor([-1.0, -1 / 3, 1 / 3, 1 / 3]).expand(3, 4))


def test_predictions_do_without(tmp_path):
    plain, cached = _build(tmp_path).eval(), _build(tmp_path, True).eval()
    with torch.no_grad():
        for own, other in zip(
            *(model.test_step(batch(*captions())) for model in (plain, cached)), strict=True
        ):
            for name, value in own.pred_phrases.items():
                assert torch.equal(other.pred_phrases[name], value), name
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize(
    'changes',
    [
        dict(seed=1),
        dict(parts=dict(region_encoder=dict(sampling_ratio=1))),
        dict(parts=dict(data_preprocessor=dict(std=[50.0] * 3))),
    ],
    ids=['weights', 'setting', 'normalisation'],
)
def test_stale_entries_are_not_read(tmp_path, changes):
    pairs = captions(**ONE_SIZE)
    _step(_build(tmp_path, True), pairs)
    stale = _entries(tmp_path / 'cache')
    other = _build(tmp_path, True, **changes)
    expected = _step(_build(tmp_path, **changes), pairs)
    _assert_close(_step(other, pairs), expected, atol=2e-3, rtol=2e-3)
    assert other.seen == [2]
    assert len(_entries(tmp_path / 'cache')) == 2 * len(stale)


def test_weights_that_are_loaded_later_count(tmp_path):
    pairs = captions(**ONE_SIZE)
    model, other = _build(tmp_path, True), _build(tmp_path, seed=1)
    _step(model, pairs)
    model.load_state_dict(other.state_dict())
    _assert_close(_step(model, pairs), _step(other, pairs), atol=2e-3, rtol=2e-3)
    assert model.seen == [2, 2]


def test_trained_weights_do_not_make_entries_stale(tmp_path):
    pairs = captions(**ONE_SIZE)
    _step(_build(tmp_path, True), pairs)
    model = _build(tmp_path, True, topk=2)
    with torch.no_grad():
        for part in (model.head, model.text_encoder):
            for value in part.parameters():
                value.mul_(0.9)
    _losses(model, pairs)
    assert model.seen == []


def test_other_proposals_are_other_entries(tmp_path):
    few, many = (caption('[a red star]', num=num) for num in (4, 6))
    plain = _build(tmp_path)
    for pair in (few, many):
        model = _build(tmp_path, False)
        _assert_close(_step(model, [pair]), _step(plain, [pair]), atol=2e-3, rtol=2e-3)
        assert model.seen[0] == 1


def _mirrored(pair):
    pixels, sample = pair
    sample.set_metainfo(dict(geometry=replace(sample.geometry, flip=True)))
    return pixels.flip(2).contiguous(), sample


def test_mirrored_images_have_entries_of_their_own(tmp_path):
    text = '[a red star]'
    plain, model = _build(tmp_path), _build(tmp_path, True)
    for pair in (caption(text), _mirrored(caption(text))):
        for _ in range(2):
            _assert_close(_step(model, [pair]), _step(plain, [pair]), atol=2e-3, rtol=2e-3)
    assert model.seen == [1, 1]


def test_random_transforms_are_refused(tmp_path):
    model = _build(tmp_path, False)
    pixels, sample = caption('[a red star]')
    _losses(model, [(pixels, sample)])
    changed = pixels.clone()
    changed[0, 3, 4] ^= 1
    with pytest.raises(ValueError, match=r'a\.jpg.*random transforms.*region_cache=None'):
        _losses(model, [(changed, caption('[a red star]')[1])])
    with pytest.raises(ValueError, match='other proposals'):
        _losses(model, [caption('[a red star]', num=5)])


@pytest.mark.parametrize('content', [b'', b'nothing', 'float32', 'few'])
def test_a_damaged_entry_is_named(tmp_path, content):
    model = _build(tmp_path, False)
    pairs = captions()[:1]
    _losses(model, pairs)
    (entry,) = _entries(tmp_path / 'cache')
    values = np.load(entry)
    if isinstance(content, bytes):
        entry.write_bytes(content)
    else:
        np.save(entry, values.astype(np.float32) if content == 'float32' else values[1:])
    with pytest.raises(ValueError, match=rf'{entry.name}.* damaged.*delete this file'):
        _losses(model, pairs)
    entry.unlink()
    _losses(model, pairs)
    assert np.array_equal(np.load(entry), values)


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    model = _build(tmp_path, False)
    model.region_encoder.layer4[1].bn2.bias.fill_(1e5)
    with pytest.raises(ValueError, match='not finite in half precision'):
        _losses(model, captions())
    assert not _entries(tmp_path / 'cache')


@pytest.mark.parametrize(
    'changes', [dict(frozen=['backbone']), dict(frozen=[]), dict(region_encoder=None, frozen=[])]
)
def test_only_frozen_parts_can_be_cached(tmp_path, changes):
    cfg = small_reir(tmp_path) | changes | dict(region_cache=dict(path=str(tmp_path / 'cache')))
    with pytest.raises(ValueError, match='must be there and in frozen'):
        MODELS.build(cfg)


def _fill(rank, folder):
    cache = RegionFeatureCache(folder)
    cache.open('0' * 64)
    for index in range(50):
        key, values = f'{index:02d}00', torch.full((40, 64), float(index), dtype=torch.float16)
        found = cache.read(key, 2, 40)
        assert found is None or torch.equal(found, values)
        cache.write(key, values)
        assert torch.equal(cache.read(key, 2, 40), values)
    return rank


def test_processes_share_a_folder(tmp_path):
    folder = tmp_path / 'cache'
    assert run_processes(_fill, tmp_path, str(folder), world_size=3) == [0, 1, 2]
    assert len(_entries(folder)) == 50
    assert not list(folder.rglob('*.partial'))
