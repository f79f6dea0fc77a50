"""What is traced against what the parts of small models get and return."""

from collections import defaultdict

import pytest
import torch
from small_drmn import small_drmn
from small_ppmn import batch, sample, small_ppmn, write_vocabulary
from torch import nn

from mmground.models.heads import LCPA, record_refinement, trace_refinement
from mmground.registry import MODELS

FORMS = ('official', 'paper', 'ppmn')
# The third shares the image of the first, so that queries of texts are not in their order.
TEXTS = ('[a red star] on [the grass]', '[two blue rings]', '[a ring]')


@pytest.fixture
def build(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')

    def build(form, head=(), **refinement):
        torch.manual_seed(0)
        cfg = small_ppmn(vocab_file) if form == 'ppmn' else small_drmn(vocab_file, form)
        cfg['head'] |= dict(refinement=cfg['head']['refinement'] | refinement) | dict(head)
        model = MODELS.build(cfg).eval()
        for name, parameter in model.named_parameters():
            # At the start they are zero, so that all queries sample alike.
            if 'sampling_offsets.weight' in name or 'attention_weights.weight' in name:
                nn.init.normal_(parameter, std=0.3)
        return model

    return build


def _batch():
    return batch(
        sample(TEXTS[0], path='a.jpg'),
        sample(TEXTS[1], path='b.jpg', ori_shape=(33, 18), img_shape=(66, 36)),
        sample(TEXTS[2], path='a.jpg'),
    )


def _watched(model):
    """Traces, and by part's name what it got, or returned, while they were made."""
    inputs, outputs = defaultdict(list), defaultdict(list)

    def keep(name, args, output):
        inputs[name].append(args)
        outputs[name].append(output)

    # What a hook returns would replace the output, and this returns None.
    hooks = [
        part.register_forward_hook(lambda _, *seen, name=name: keep(name, *seen))
        for name, part in model.named_modules()
    ]
    traces = trace_refinement(model, _batch())
    for hook in hooks:
        hook.remove()
    return traces, {k: v[-1] for k, v in inputs.items()}, {k: v[-1] for k, v in outputs.items()}


def _texts_of_queries(queries):
    """The text and the phrase in it of each packed query."""
    bounds = torch.tensor(queries.counts).cumsum(0)
    text = (queries.phrase_index[:, None] >= bounds).sum(1)
    return text, queries.phrase_index - torch.cat((bounds.new_zeros(1), bounds))[text]


@pytest.mark.parametrize('form', FORMS)
def test_every_query_has_its_own(build, form):
    model = build(form)
    traces, inputs, outputs = _watched(model)
    queries = inputs['head'][1]
    text, phrase = _texts_of_queries(queries)
    # As packed: both texts of image a first.
    assert text.unique_consecutive().tolist() == [0, 2, 1]
    compared = 0
    for t, trace in enumerate(traces):
        assert trace.sample.text == TEXTS[t].replace('[', '').replace(']', '')
        members = (text == t).nonzero()[:, 0]
        assert torch.equal(trace.phrase_index, phrase[members])
        assert torch.equal(trace.maps, torch.stack(outputs['head'])[:, members])
        assert trace.has_points and trace.has_sampling == (form != 'ppmn')
        for r, own in enumerate(trace.rounds):
            part = f'head.rounds.{r}.refinement.aggregation.attention'
            query, keys = inputs[part]
            attention = model.get_submodule(part)
            expected = [
                attention.attention_weights(query[m : m + 1], keys[m : m + 1])
                for m in range(len(query))
            ]
            expected = torch.stack([weights[0].mean(0) for weights in expected])[members]
            torch.testing.assert_close(own.weights, expected)
            if form != 'ppmn':
                continue
            pixels = outputs[f'head.rounds.{r}.pixel_proj'].flatten(2)
            assert own.grid == outputs['head'][0].shape[-2:]
            for row, m in enumerate(members.tolist()):
                chosen = pixels[queries.image_index[m]][:, own.positions[row]].T
                torch.testing.assert_close(keys[m], chosen)
                compared += 1
    assert compared == (2 * len(text) if form == 'ppmn' else 0)


@pytest.mark.parametrize('form', FORMS[:2])
def test_samples_are_those_of_their_pixel(build, form):
    model = build(form)
    traces, inputs, _ = _watched(model)
    queries = inputs['head'][1]
    text, _ = _texts_of_queries(queries)
    ranks = [
        int((queries.image_index[:m] == queries.image_index[m]).sum()) for m in range(len(text))
    ]
    for r in range(2):
        part = f'head.rounds.{r}.refinement.layer.attention'
        query, _, centres, shapes, *_ = inputs[part]
        locations, weights = model.get_submodule(part).sampling(query, centres, shapes)
        for t, trace in enumerate(traces):
            own = trace.rounds[r]
            assert own.levels == tuple(shapes)
            for row, m in enumerate((text == t).nonzero()[:, 0].tolist()):
                for j, position in enumerate(own.positions[row].tolist()):
                    place = queries.image_index[m], 4 * ranks[m] + j
                    assert torch.equal(own.locations[row, j], locations[place])
                    assert torch.equal(own.location_weights[row, j], weights[place])
                    # They start from the pixel that was selected.
                    y, x = divmod(position, own.grid[1])
                    centre = torch.tensor([(x + 0.5) / own.grid[1], (y + 0.5) / own.grid[0]])
                    torch.testing.assert_close(centres[place], centre)


@pytest.mark.parametrize('form', FORMS)
def test_a_model_is_left_as_it_was(build, form):
    model = build(form)
    data = model.data_preprocessor(_batch())
    before = model(**data, mode='tensor')
    with record_refinement(model.head) as record:
        during = model(**data, mode='tensor')
        model(**data, mode='tensor')
    assert len(record.maps) == 3 and len(record.rounds) == 2
    with pytest.raises(RuntimeError, match='stop'), record_refinement(model.head):
        raise RuntimeError('stop')
    for ours, theirs in zip(before, during, strict=True):
        assert torch.equal(ours, theirs)
    for part in model.modules():
        assert not part._forward_hooks and not part._forward_pre_hooks
        assert 'select' not in vars(part)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('pooling', ['probs', 'logits'])
def test_the_last_probabilities_are_the_prediction(build, form, pooling):
    model = build(form, head=dict(test_cfg=dict(pooling=pooling, threshold=0.4)))
    traces = trace_refinement(model, _batch())
    for trace, predicted in zip(traces, model.test_step(_batch()), strict=True):
        for phrase, mask in enumerate(predicted.pred_phrases.masks):
            probs = trace.probabilities(phrase)
            assert probs.shape == (3, *predicted.ori_shape)
            assert torch.equal(probs[-1] > trace.threshold, mask)
            assert not torch.equal(probs[0], probs[-1])
            if mask.any():
                score = predicted.pred_phrases.scores[phrase]
                torch.testing.assert_close(probs[-1][mask].mean(), score)


@pytest.mark.parametrize('form', FORMS)
def test_selected_pixels_on_the_image(build, form):
    trace = trace_refinement(build(form), _batch())[1]
    own = trace.rounds[-1]
    # 66 x 36 pixels of the network input, twice the image, on a canvas of 96 x 64.
    assert trace.sample.geometry.canvas_shape == (96, 64)
    stride = 96 // own.grid[0]
    assert stride == {'official': 16, 'paper': 8, 'ppmn': 8}[form]
    mean, single = defaultdict(float), {}
    for m in range(len(own.positions)):
        for j, position in enumerate(own.positions[m].tolist()):
            y, x = divmod(position, own.grid[1])
            point = ((x + 0.5) * stride / 2, (y + 0.5) * stride / 2)
            mean[point] += float(own.weights[m, j]) / len(own.positions)
            if m == 1:
                single[point] = float(own.weights[m, j])
    for expected, query in ((mean, None), (single, 1)):
        points = trace.selected(0, -1, query)
        assert (points.cell, points.stride) == ((stride / 2, stride / 2), stride)
        assert points.weights.sum().item() == pytest.approx(1, abs=1e-5)
        assert torch.equal(points.weights, points.weights.sort().values)
        found = dict(zip(map(tuple, points.points.tolist()), points.weights.tolist(), strict=True))
        assert found == pytest.approx(expected)


def test_a_pixel_that_is_selected_twice_counts_with_both_weights(build):
    # As bins that overlap may select.
    model = build('ppmn', selection='adaptive_max_pool', num_points=7, smooth=False)
    (trace,) = trace_refinement(model, batch(sample('[a ring]')))
    own = trace.rounds[0]
    own.positions = torch.tensor([[0, 3, 3, 5, 9, 9, 9], [0, 1, 2, 3, 4, 5, 6]])
    points = trace.selected(0, 0, query=0)
    assert len(points.points) == 4
    weight = dict(zip(points.points[:, 0].tolist(), points.weights.tolist(), strict=True))
    # Column 9 of a row of 8 cells is column 1 of the next.
    cell = 8 * 30 / 60
    by_hand = own.weights[0]
    assert weight[3.5 * cell] == pytest.approx(float(by_hand[1:3].sum()))
    assert weight[1.5 * cell] == pytest.approx(float(by_hand[4:].sum()))


@pytest.mark.parametrize('form', FORMS[:2])
@pytest.mark.parametrize('query', [None, 2])
def test_the_most_important_samples_of_each_level(build, form, query):
    trace = trace_refinement(build(form), _batch())[0]
    geometry = trace.sample.geometry
    for index in (0, -1):
        own = trace.rounds[index]
        members = [m for m in range(len(trace.phrase_index)) if trace.phrase_index[m] == 0]
        assert len(members) == 3
        members = members if query is None else members[query : query + 1]
        levels = trace.sampled(0, index, 10, query)
        assert len(levels) == 4
        for level, found in enumerate(levels):
            height, width = geometry.canvas_shape
            every = []
            for m in members:
                for place in torch.cartesian_prod(
                    torch.arange(4), torch.arange(2), torch.arange(4)
                ).tolist():
                    pixel, head, point = place
                    x, y = own.locations[m, pixel, head, level, point].tolist()
                    weight = own.location_weights[m, pixel, head, level, point].item()
                    every.append((weight, x * width / 2, y * height / 2))
            expected = sorted(every)[-10:]
            result = torch.cat((found.weights[:, None], found.points), 1)
            torch.testing.assert_close(result, torch.tensor(expected))
            assert found.stride == height // own.levels[level][0]
        # Fewer than asked for are all.
        all_of_them = trace.sampled(0, index, 10**6, query)
        assert {len(own.points) for own in all_of_them} == {len(members) * 32}


def test_queries_that_are_phrases(build):
    trace = trace_refinement(build('ppmn', head=dict(query='phrase')), _batch())[0]
    assert trace.query == 'phrase'
    assert trace.phrase_index.tolist() == [0, 1]
    assert len(trace.selected(1, 0).points) == 4


@pytest.mark.parametrize('aggregation', ['MUTAN', 'SKNet'])
def test_an_aggregation_without_attention_has_no_weights(build, aggregation):
    settings = dict(type=aggregation, ffn_channels=16)
    trace = trace_refinement(build('ppmn', aggregation=settings), _batch())[2]
    assert trace.has_points and trace.rounds[0].weights is None
    points = trace.selected(0, 0)
    assert points.weights is None and len(points.points) >= 4


def test_parts_that_a_model_does_not_have(build):
    trace = trace_refinement(build('ppmn', head=dict(num_rounds=0)), _batch())[0]
    assert trace.rounds == () and not trace.has_points and not trace.has_sampling
    assert trace.probabilities(0).shape == (1, 20, 30)

    class Unselective(nn.Module):
        max_queries = None

        def forward(self, state):
            return state.queries

    model = build('ppmn')
    for own in model.head.rounds:
        own.refinement = Unselective()
    trace = trace_refinement(model, _batch())[0]
    assert len(trace.rounds) == 2 and not trace.has_points
    with pytest.raises(ValueError, match='selects no pixels'):
        trace.selected(0, 0)
    with pytest.raises(ValueError, match='no deformable attention'):
        trace.sampled(0)


def test_mistakes(build):
    with pytest.raises(ValueError, match=r'PhrasePixelHead.* this Linear is NoneType'):
        trace_refinement(nn.Linear(1, 1), _batch())
    # Two slots hold two of the three pieces of the first phrase.
    trace = trace_refinement(build('official', max_seg_num=2), _batch())[0]
    assert len(trace.queries_of(0)) == 2
    with pytest.raises(ValueError, match="no piece of the phrase 'the grass' of sample 'a"):
        trace.probabilities(1)
    with pytest.raises(ValueError, match='2 phrases, there is no index 2'):
        trace.selected(2, 0)
    with pytest.raises(ValueError, match=r"'a red star'.* has 2 queries, there is no index -1"):
        trace.selected(0, 0, query=-1)
    with pytest.raises(ValueError, match='num must be at least 1, got 0'):
        trace.sampled(0, num=0)
    with pytest.raises(IndexError):
        trace.sampled(0, index=2)


def test_lcpa_is_what_selects(build):
    """The positions are not computed again."""
    model = build('ppmn')
    calls = []
    select = LCPA.select

    def counted(self, logits):
        calls.append(self)
        return select(self, logits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LCPA, 'select', counted)
        trace_refinement(model, _batch())
    assert calls == [own.refinement for own in model.head.rounds]
