"""ReIR against numbers of the official implementation.

The weights are generated in the published layout and come through the conversion command, as
published ones would. The frozen backbone is not among the numbers: what it would say of regions is
stored.
"""

import json

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmengine.structures import InstanceData
from parity_data import ParityData

from mmground.apis import init_model, read_checkpoint
from mmground.evaluation import PhraseGroundingMetric
from mmground.models.heads import (
    PhraseBatch,
    RegionBatch,
    Stage,
    semantic_similarity,
)
from mmground.models.layers.masked_softmax import masked_softmax
from mmground.models.losses import ImageTextRankingLoss
from mmground.models.task_modules import clip_boxes, decode_boxes, encode_boxes
from mmground.structures import Geometry, GroundingDataSample

IMAGES = (0, 1)
MODES = ('eval', 'train', 'eval_early', 'train_early')
# From the names of the losses to the official ones.
LOSSES = {
    'loss_rec_fine': 'rec_s2',
    'loss_reg_coarse': 'reg_s1',
    'loss_reg_fine': 'reg_s2',
    'loss_rank_coarse': 'rank_s1',
    'loss_rank_fine': 'rank_s2',
    'loss_rel': 'rel_s2',
}
# What the official code holds three times, and twice.
COPIES = {
    'RCNN_base.': ('backbone.RCNN_base.', 'backbone_base.'),
    'RCNN_top.': ('backbone.RCNN_top.', 'backbone_top.', 'weakly_vg_head.rcnn_top.'),
}


@pytest.fixture(scope='module')
def parity():
    return ParityData('reir')


@pytest.fixture(scope='module')
def case(parity):
    return json.loads((parity.root / 'forward.json').read_text())


@pytest.fixture(scope='module')
def arrays(parity):
    return _tensors(parity.arrays('forward'))


@pytest.fixture(scope='module')
def close(parity):
    """Compare with a named number, within ten times the noise that was measured of it."""
    tolerances = json.loads((parity.root / 'tolerance.json').read_text())

    def close(actual, expected, name, file='forward'):
        noise = tolerances.get(f'{file}.npz', {}).get(name, 0)
        atol = 10 * noise + 1e-5 * float(expected.abs().max()) if expected.numel() else 0
        torch.testing.assert_close(
            actual.detach(), expected, atol=atol, rtol=0, msg=lambda text: f'{name}: {text}'
        )

    return close


def _tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _bottom_up():
    """The backbone of a bottom-up-attention detector."""
    resnet = ResNet(101, norm_eval=True)
    weights = {}
    torch.manual_seed(0)
    for name, value in resnet.state_dict().items():
        first, _, rest = name.partition('.')
        if first.startswith('layer'):
            stage = int(first[-1])
            first = 'RCNN_top.0' if stage == 4 else f'RCNN_base.{3 + stage}'
        else:
            first = {'conv1': 'RCNN_base.0', 'bn1': 'RCNN_base.1'}[first]
        # One number for each, so that a weight is known by it.
        weights[f'{first}.{rest}'] = torch.rand(()).to(value.dtype).expand(value.shape).clone()
    return weights


@pytest.fixture(scope='module')
def backbone():
    return _bottom_up()


@pytest.fixture(scope='module')
def published(folder, parity, case, backbone):
    """A whole official checkpoint, and its two vocabularies."""
    weights = parity.state_dict()
    for name, value in backbone.items():
        for common, copies in COPIES.items():
            if name.startswith(common):
                weights |= {copy + name.removeprefix(common): value for copy in copies}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1e-3)
    files = dict(
        checkpoint=folder / 'official_reir.pth',
        vocab=folder / 'vocab.json',
        phrase_vocab=folder / 'vocab_phr.json',
    )
    torch.save(
        dict(model=weights, optimizer=optimizer.state_dict(), scheduler={}, iteration=74999),
        files['checkpoint'],
    )
    files['vocab'].write_text(json.dumps(case['vocab']))
    files['phrase_vocab'].write_text(json.dumps(case['phrase_vocab']))
    return files


@pytest.fixture(scope='module')
def config(config_dir):
    return config_dir / 'reir' / 'reir_r101_4xb10-80k_flickr30k.py'


@pytest.fixture(scope='module')
def converted(convert, published, folder):
    path = folder / 'reir_mmground.pth'
    vocabularies = ['--vocab', str(published['vocab'])]
    vocabularies += ['--phrase-vocab', str(published['phrase_vocab'])]
    convert(['reir', str(published['checkpoint']), str(path), *vocabularies])
    return path


@pytest.fixture(scope='module')
def model(config, converted):
    """The model with the converted checkpoint, loaded strictly; it has no file of words."""
    return init_model(config, converted)


def test_every_weight_is_taken(model, converted, parity, backbone, case):
    meta = read_checkpoint(str(converted))['meta']
    assert meta['system'] == 'reir'
    copies = {part: sum(name.startswith(part) for name in backbone) for part in COPIES}
    assert meta['num_dropped'] == copies['RCNN_base.'] + 2 * copies['RCNN_top.']
    state = model.state_dict()
    assert len(state) == len(parity.shapes()) + len(backbone) + 2  # vocabularies
    words = bytes(state['text_encoder.vocabulary.vocab'].tolist()).decode().split('\n')
    assert words == case['vocab'] + case['vocab_appended']
    top = state['region_encoder.layer4.2.conv3.weight']
    assert torch.equal(top, backbone['RCNN_top.0.2.conv3.weight'])
    last = state['backbone.layer3.22.bn3.running_var']
    assert torch.equal(last, backbone['RCNN_base.6.22.bn3.running_var'])


def test_bottom_up_backbone(convert, folder, backbone, model):
    """The same weights from the detector that ReIR starts from."""
    source, path = folder / 'bottomup.pth', folder / 'backbone.pth'
    detector = {
        'RCNN_rpn.RPN_Conv.weight': torch.ones(2),
        'RCNN_cls_score.bias': torch.ones(2),
        'RCNN_bbox_pred.weight': torch.ones(2),
    }
    counters = 'num_batches_tracked'
    old = {name: own for name, own in backbone.items() if not name.endswith(counters)}
    torch.save(dict(model=old | detector, epoch=10), source)
    convert(['bottom-up', str(source), str(path)])
    checkpoint = read_checkpoint(str(path))
    assert checkpoint['meta']['num_dropped'] == 3
    parts = ('backbone.', 'region_encoder.')
    state = {name: own for name, own in model.state_dict().items() if name.startswith(parts)}
    assert checkpoint['state_dict'].keys() == state.keys()
    for name, value in checkpoint['state_dict'].items():
        if not name.endswith(counters):
            assert torch.equal(value, state[name]), name


def _sample(record, index):
    """The text of an image; phrases without a box are no part of it."""
    text, phrases = record['sentence']['sentence'], []
    words = text.split(' ')
    for phrase in record['sentence']['phrases']:
        if phrase['phrase_id'] in record['phrase_ids_with_boxes']:
            start = len(' '.join(words[: phrase['first_word_index']]))
            start += bool(start)
            span = (start, start + len(phrase['phrase']))
            assert text[slice(*span)] == phrase['phrase']
            phrases.append(dict(text=phrase['phrase'], span=span))
    height, width = record['image_size']
    meta = dict(sample_id=record['id'], text=text, phrases=phrases, image_index=index)
    return GroundingDataSample(
        metainfo=meta | dict(geometry=Geometry((height, width), (height, width)))
    )


@pytest.fixture(scope='module')
def inputs(model, case, arrays):
    """Both images in one batch: samples, regions, and what the encoder says of refined boxes."""
    samples = [_sample(record, index) for index, record in enumerate(case['images'])]
    for index, sample in enumerate(samples):
        sample.proposals = InstanceData(
            bboxes=arrays[f'img{index}.boxes'], labels=torch.zeros(50, dtype=torch.int64)
        )
        if f'img{index}.rel_labels' in arrays and len(arrays[f'img{index}.relation_pairs']):
            sample.relations = arrays[f'img{index}.relation_pairs']
            sample.relation_labels = arrays[f'img{index}.rel_labels'].bool()
    regions = RegionBatch.pack(samples, 'cpu')
    regions.features = torch.stack([arrays[f'img{index}.roi_feats'] for index in IMAGES])
    refined = torch.cat([arrays[f'img{index}.roi_feats_s2'] for index in IMAGES])
    return samples, regions, lambda boxes, image_index: refined


def _phrases(model, samples, arrays):
    phrases = PhraseBatch.pack(model.encode_text(samples), samples)
    phrases.semantic = torch.cat([arrays[f'img{index}.s_a'] for index in IMAGES])
    return phrases


@pytest.fixture(scope='module')
def run(converted, config, inputs, arrays):
    """Forward and losses in a mode, of a model of its own; backward in training modes."""
    done = {}

    def run(mode):
        if mode not in done:
            model = init_model(config, converted)
            samples, regions, describe = inputs
            head, refine = model.head, not mode.endswith('early')
            model.train(mode.startswith('train'))
            head.refining = head.test_cfg['refine'] = refine
            head.loss_rel.class_counts = None
            phrases = _phrases(model, samples, arrays)
            result = head(regions, phrases, describe)
            done[mode] = model, phrases, result
        return done[mode]

    return run


def test_text_encoder(model, inputs, arrays, close):
    samples, *_ = inputs
    phrases = _phrases(model, samples, arrays)
    for index, own in enumerate(phrases.features.split(phrases.counts)):
        close(own, arrays[f'img{index}.phrase_raw'], f'img{index}.phrase_raw')
        close(phrases.sentences[index], arrays[f'img{index}.sentence'], f'img{index}.sentence')
    ids, _, valid = model.text_encoder.tokenize([sample.text for sample in samples])
    for index in IMAGES:
        assert torch.equal(ids[index][valid[index]], arrays[f'img{index}.token_ids'])


def test_words_to_tell(model, inputs, arrays):
    samples, *_ = inputs
    phrases = _phrases(model, samples, arrays)
    ids, mask = model.head.decoder.targets(phrases.words, 'cpu')
    for index, (own, kept) in enumerate(
        zip(ids.split(phrases.counts), mask.split(phrases.counts), strict=True)
    ):
        length = arrays[f'img{index}.dec_ids'].shape[1]
        assert torch.equal(own[:, :length], arrays[f'img{index}.dec_ids'])
        assert torch.equal(kept[:, :length], arrays[f'img{index}.dec_mask'].bool())
        assert not kept[:, length:].any()


def test_semantic_similarity_of_the_images(arrays, close):
    for index in IMAGES:
        own = semantic_similarity(
            arrays[f'img{index}.word_vecs'],
            arrays[f'img{index}.word_vec_mask'].bool(),
            arrays[f'img{index}.label_vecs'],
        )
        close(own, arrays[f'img{index}.s_a'], f'img{index}.s_a')


def _found(result, phrases, index):
    """What was computed of an image, under the names of the numbers."""
    own = torch.arange(len(phrases.text_index))[phrases.text_index == index]
    coarse, fine = result.coarse, result.fine
    found = dict(
        visual=coarse.visual[index],
        phrase=result.phrases[own],
        s_hat=coarse.scores[own],
        delta_c=coarse.deltas[own],
        alpha_c=coarse.attention[own],
        topk_index=result.topk[own],
        topk_score=result.topk_attention[own],
        boxes_s2=fine.boxes[own].flatten(0, 1),
        visual_s2=result.refined[own].flatten(0, 1),
        visual_s2_ctx=fine.visual[own].flatten(0, 1),
        s_hat_f=fine.scores[own],
        delta_f=fine.deltas[own],
        alpha_f=fine.attention[own],
        alpha_fuse=result.fused[own],
        z_c=coarse.context[own],
        z_f=fine.context[own],
    )
    if (phrases.text_index[phrases.edges[:, 0]] == index).any():
        found |= dict(
            graph_gate=result.graph.gates[own][:, own],
            graph_attn=result.graph.weights[own][:, own],
            graph_context=result.graph.context[own],
        )
    return found


@pytest.mark.parametrize('mode', MODES)
def test_forward(run, arrays, close, mode):
    _, phrases, result = run(mode)
    compared = set()
    for index in IMAGES:
        found = _found(result, phrases, index)
        for name, value in found.items():
            key = f'{mode}.img{index}.{name}'
            if key not in arrays:
                continue
            compared.add(name)
            if value.dtype == torch.int64:
                assert torch.equal(value, arrays[key]), key
            else:
                close(value, arrays[key], key)
    wanted = {
        name.split('.')[-1]
        for name in arrays
        if name.startswith(f'{mode}.img') and 'logits' not in name and 'pred_' not in name
    }
    # The nodes are checked by what becomes of them.
    assert compared == wanted - {'graph_nodes'}
    assert result.refining == (not mode.endswith('early'))


@pytest.mark.parametrize('mode', MODES)
def test_heads(run, arrays, close, mode):
    model, phrases, result = run(mode)
    head, num_compared = model.head, 0
    for stage, suffix in ((result.coarse, 'c'), (result.fine, 'f')):
        words = head.decoder(stage.context, phrases.embeddings).split(phrases.counts)
        relations = head.relation_logits(stage.context, phrases.edges)
        for index in IMAGES:
            key = f'{mode}.img{index}.dec_logits_{suffix}'
            if key in arrays:
                # Padding of the longest phrase of the other image.
                own = words[index][:, : arrays[key].shape[1]]
                kept = arrays[f'img{index}.dec_mask'].bool()
                close(own[kept], arrays[key][kept], key)
                num_compared += 1
            key = f'{mode}.img{index}.rel_logits_{suffix}'
            if key in arrays:
                close(relations, arrays[key], key)
                num_compared += 1
    assert num_compared == (3 if mode.endswith('early') else 6)
    for stage, name in ((result.coarse, 'sim_s1'), (result.fine, 'sim_s2')):
        key = f'{mode}.rank.{name}'
        close(head.similarities(stage.context, phrases), arrays[key], key)


def _class_weights(head, parity):
    """The official weights, whose counts are not published."""
    weights = torch.from_numpy(parity.arrays('losses')['rel_class_weights'])
    head.loss_rel.class_counts = 'published'
    head.loss_rel._class_weights = weights


@pytest.mark.parametrize('mode', MODES)
def test_losses(run, arrays, close, parity, mode):
    model, phrases, result = run(mode)
    _class_weights(model.head, parity)
    targets = model.head.decoder.targets(phrases.words, 'cpu')
    losses = model.head.loss_by_feat(result, phrases, *targets)
    assert losses.keys() == LOSSES.keys()
    for name, theirs in LOSSES.items():
        key = f'{mode}.loss.{theirs}'
        close(losses[name], arrays[key], key)
    close(sum(losses.values()), arrays[f'{mode}.loss.total'], f'{mode}.loss.total')
    for name in ('rec_s1', 'rel_s1'):
        assert arrays[f'{mode}.loss.{name}'] == 0


@pytest.mark.parametrize('mode', ['train', 'train_early'])
def test_running_statistics(run, arrays, close, mode):
    head = run(mode)[0].head
    for name, norm in (('vis', head.visual_norm), ('phr', head.phrase_norm)):
        for field in ('running_mean', 'running_var'):
            key = f'{mode}.bn.{name}_{field}'
            close(getattr(norm, field), arrays[key], key)
        key = f'{mode}.bn.{name}_num_batches_tracked'
        assert norm.num_batches_tracked == arrays[key]


# Official names, without the prefix, and those of the head or the encoder.
GRADIENTS = {
    'phrase_embed.enc_embedding': 'text_encoder.embedding',
    'phrase_embed.sent_rnn': 'text_encoder.rnn',
    'visual_embedding.0': 'head.visual_embedding',
    'similarity_fc.0': 'head.matcher.layers.0',
    'box_reg_fc.0': 'head.box_regressor.layers.0',
    'box_reg_fc.2': 'head.box_regressor.layers.2',
    'vis_batchnorm': 'head.visual_norm',
    'phr_batchnorm': 'head.phrase_norm',
    'sent_mlp': 'head.sentence_proj',
    'visual_mlp': 'head.image_proj',
    'dec_phrase_gru': 'head.decoder.rnn',
    'relation_merge.0': 'head.relation.0',
    'rel_trans': 'head.graph.edge_proj',
    'agg_trans.0': 'head.graph.message',
    'vis2rel': 'head.relation.2',
    'vis2phr': 'head.decoder.classifier',
}


@pytest.mark.parametrize('mode', ['train', 'train_early'])
def test_gradients(run, arrays, case, parity, mode):
    model, phrases, result = run(mode)
    _class_weights(model.head, parity)
    targets = model.head.decoder.targets(phrases.words, 'cpu')
    model.zero_grad()
    losses = model.head.loss_by_feat(result, phrases, *targets)
    sum(losses.values()).backward(retain_graph=True)
    parameters = dict(model.named_parameters())
    seen = set()
    for name, record in case[f'{mode}_grad_norm'].items():
        part, _, last = name.removeprefix('weakly_vg_head.').rpartition('.')
        ours = f'{GRADIENTS[part]}.{last}'
        seen.add(ours)
        gradient = parameters[ours].grad
        norm = 0.0 if gradient is None else gradient.double().norm().item()
        if record['f32_rel_diff'] <= 1e-3:
            assert norm == pytest.approx(record['norm'], rel=2e-4, abs=1e-9), ours
        key = f'{mode}.grad.{name}'
        if key in arrays:
            theirs = arrays[key]
            atol = 2e-4 * float(theirs.abs().max())
            torch.testing.assert_close(gradient, theirs, atol=atol, rtol=0, msg=ours)
    assert seen == {name for name, own in parameters.items() if own.requires_grad}


@pytest.mark.parametrize('mode', ['eval', 'eval_early'])
def test_predictions(run, arrays, close, mode):
    model, phrases, result = run(mode)
    found = model.head.predict_by_feat(result)
    for field, suffix in (('bboxes_coarse', 'c'), ('bboxes_fine', 'f'), ('bboxes', 'fuse')):
        for index, own in enumerate(found[field].split(phrases.counts)):
            key = f'{mode}.img{index}.pred_{suffix}'
            close(own, arrays[key], key)


def test_operations(parity, close):
    ops = _tensors(parity.arrays('ops'))
    scores, square = ops['in.softmax.x'], ops['in.softmax.square']
    every = torch.ones_like(square, dtype=torch.bool)
    boxes, size = ops['in.coder.boxes'], ops['in.coder.image_size']
    decoded = decode_boxes(boxes, ops['in.coder.deltas'])
    for name, own in {
        'softmax.masked': masked_softmax(scores, ops['in.softmax.mask'].bool()),
        'softmax.rows': masked_softmax(square, every, 1),
        'softmax.cols': masked_softmax(square, every, 0),
        'coder.decoded': decoded,
        'coder.decoded_clipped': clip_boxes(decoded, size.expand(len(boxes), 2)),
        'coder.encoded': encode_boxes(boxes, ops['in.coder.targets']),
        's_a': semantic_similarity(
            ops['in.s_a.word_vecs'],
            ops['in.s_a.word_vec_mask'].bool(),
            ops['in.s_a.label_vecs'],
        ),
    }.items():
        close(own, ops[name], name, 'ops')


def test_rank_loss_alone(parity, close):
    arrays = _tensors(parity.arrays('losses'))
    for name in [key for key in arrays if key.endswith('.loss') and key.startswith('rank')]:
        similarities = arrays[f'in.{name.split(".")[0]}.sim']
        close(ImageTextRankingLoss()(similarities), arrays[name], name, 'losses')


def _pad(rows, *shape):
    """Arrays of different sizes, below each other, filled up with zeros."""
    padded = rows[0].new_zeros(sum(map(len, rows)), *shape)
    start = 0
    for own in rows:
        inside = [slice(start, start + len(own)), *(slice(size) for size in own.shape[1:])]
        padded[tuple(inside)] = own
        start += len(own)
    return padded


def test_losses_of_crafted_images(model, parity, close):
    """Images of different numbers of phrases and proposals, in one batch, and all gradients."""
    arrays = _tensors(parity.arrays('losses'))
    head = model.head
    _class_weights(head, parity)
    images = sorted({int(key.split('.')[1][3:]) for key in arrays if key.startswith('in.img')})
    given = {
        key.removeprefix('in.'): value.clone().requires_grad_(f'grad.{key[3:]}' in arrays)
        for key, value in arrays.items()
        if key.startswith('in.')
    }

    def of(name):
        return [given[f'img{index}.{name}'] for index in images if f'img{index}.{name}' in given]

    counts = torch.tensor([len(own) for own in of('alpha_c')])
    text_index = torch.arange(len(images)).repeat_interleave(counts)
    most = max(own.shape[1] for own in of('alpha_c'))
    length = max(own.shape[1] for own in of('dec_ids'))
    valid = _pad([torch.ones_like(own) for own in of('alpha_c')], most).bool()
    boxes = _pad(
        [own.expand(int(n), -1, 4) for own, n in zip(of('boxes'), counts, strict=True)], most, 4
    )
    alpha_f = _pad(of('alpha_f'), of('alpha_f')[0].shape[1])
    nothing = torch.zeros(len(alpha_f), 1)

    def stage(boxes, valid, attention, deltas):
        return Stage(boxes, valid, nothing, nothing, nothing, nothing, attention, deltas, nothing)

    coarse = stage(boxes, valid, _pad(of('alpha_c'), most), _pad(of('delta_c'), most, 4))
    refined = torch.cat([own.unflatten(0, (-1, alpha_f.shape[1])) for own in of('boxes_s2')])
    everything = torch.ones_like(alpha_f, dtype=torch.bool)
    deltas = _pad(of('delta_f'), alpha_f.shape[1], 4)
    fine = stage(refined, everything, alpha_f, deltas)
    group = (text_index, len(images))
    words = _pad(of('dec_logits_s2'), length, of('dec_logits_s2')[0].shape[2])
    relations = [index for index in images if f'img{index}.rel_logits_s2' in given]
    relation_text = torch.tensor(
        [index for index in relations for _ in given[f'img{index}.rel_logits_s2']]
    )
    of_texts = dict(
        rec_s2=head.loss_rec(
            words, _pad(of('dec_ids'), length), _pad(of('dec_mask'), length).bool(), *group
        ),
        rel_s2=head.loss_rel(
            torch.cat(of('rel_logits_s2')),
            torch.cat(of('rel_labels')).bool(),
            relation_text,
            len(images),
        ),
    )
    for name, own in (('reg_s1', coarse), ('reg_s2', fine)):
        of_texts[name] = head.loss_reg(own.deltas, own.boxes, own.attention, own.valid, *group)
    for name, losses in of_texts.items():
        for index in images:
            key = f'img{index}.{name}'
            close(losses[index], arrays[key], key, 'losses')
    totals = {name: losses.sum() for name, losses in of_texts.items()}
    for name in ('s1', 's2'):
        totals[f'rank_{name}'] = head.loss_rank(given[f'sim_{name}'])
    for name, value in totals.items():
        close(value, arrays[f'loss.{name}'], f'loss.{name}', 'losses')
    total = sum(totals.values())
    close(total, arrays['loss.total'], 'loss.total', 'losses')
    total.backward()
    keys = [key for key in arrays if key.startswith('grad.')]
    assert len(keys) == 16
    for key in keys:
        gradient = given[key.removeprefix('grad.')].grad
        close(gradient, arrays[key], key, 'losses')


def _metric_samples(parity):
    arrays = _tensors(parity.arrays('metric'))
    cases = json.loads((parity.root / 'metric.json').read_text())
    for index, record in enumerate(cases['images']):
        own = {
            name.removeprefix(f'img{index}.'): value
            for name, value in arrays.items()
            if name.startswith(f'img{index}.')
        }
        regions, links, phrases = [], [], []
        for number, (phrase, types) in enumerate(
            zip(record['phrase_ids'], record['phrase_types'], strict=True)
        ):
            for box in record['raw_boxes'][phrase]:
                links.append((number, len(regions)))
                regions.append(box)
            phrases.append(dict(text='', type='/'.join(types)))
        size = tuple(own['image_size'].tolist())
        geometry = Geometry(size, size)
        moved = decode_boxes(own['proposals'], own['delta_c'])
        sample = GroundingDataSample(metainfo=dict(sample_id=str(index), phrases=phrases))
        sample.gt_regions = InstanceData(bboxes=torch.tensor(regions).float())
        sample.links = torch.tensor(links)
        sample.pred_phrases = InstanceData(
            bboxes=geometry.inverse_boxes(own['pred_fuse']),
            bboxes_coarse=geometry.inverse_boxes(own['pred_c']),
            bboxes_fine=geometry.inverse_boxes(own['pred_f']),
            candidate_bboxes=geometry.inverse_boxes(moved),
            candidate_scores=own['alpha_c'],
        )
        yield sample, own


def test_metric(parity, close):
    expected = json.loads((parity.root / 'metric.json').read_text())
    metric = PhraseGroundingMetric()
    for index, (sample, own) in enumerate(_metric_samples(parity)):
        metric.process(None, [sample.to_dict()])
        for name, suffix in (('coarse/iou', 'c'), ('fine/iou', 'f'), ('iou', 'fuse')):
            ious = torch.from_numpy(metric.results[-1]['scores'][name]).float()
            close(ious, own[f'iou_{suffix}'], f'img{index}.iou_{suffix}', 'metric')
    measures = metric.compute_metrics(metric.results)
    theirs = expected['refined']
    assert measures['num_phrases'] == expected['n_phrases']
    for name, value in {
        'coarse/Acc@0.5': theirs['acc'],
        'fine/Acc@0.5': theirs['acc_s2'],
        'Acc@0.5': theirs['acc_s2_fusion'],
        'coarse/PointIt': theirs['point'],
        'fine/PointIt': theirs['point_s2'],
        'PointIt': theirs['point_s2_fusion'],
        'R@5_ties': theirs['acc_top5'],
        'R@10_ties': theirs['acc_top10'],
    }.items():
        assert measures[name] == pytest.approx(100 * value, abs=1e-5), name
    # The official code has the types of the coarse stage.
    for sample, _ in _metric_samples(parity):
        sample.pred_phrases.bboxes = sample.pred_phrases.bboxes_coarse
        metric.process(None, [sample.to_dict()])
    measures = metric.compute_metrics(metric.results[len(metric.results) // 2 :])
    for type_, value in theirs['acc_by_type'].items():
        assert measures[f'Acc@0.5/{type_}'] == pytest.approx(100 * value), type_
