import json

import pytest
import torch
from data_factory import (
    flickr_box,
    flickr_relations,
    flickr_xml,
    write_flickr30k_dataset,
    write_proposals,
)
from mmcv.ops import roi_align
from mmengine.structures import InstanceData
from small_ppmn import batch
from small_reir import build, caption, captions, small_reir, with_vectors

from mmground.datasets import Flickr30kEntitiesDataset
from mmground.models.heads import PhraseBatch, RegionBatch
from mmground.models.losses import relation_class_weights
from mmground.registry import MODELS

ALL = {
    f'loss_{name}_{stage}' for name in ('rec', 'reg', 'rank') for stage in ('coarse', 'fine')
} | {'loss_rel'}
COUNTS = {'dropped_phrases', 'unmatched_phrases', 'unknown_words'}


def _losses(model, pairs=None):
    return model(**model.data_preprocessor(batch(*(pairs or captions()))), mode='loss')


def _assert_trained(model, without=()):
    """Every parameter has a gradient, without which distributed training stops."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
        elif not name.startswith(tuple(without)):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_losses_and_gradients(tmp_path):
    model = build(tmp_path, rec_stages=['coarse', 'fine']).train()
    assert not model.region_encoder.training
    losses = _losses(model)
    assert losses.keys() == ALL | COUNTS
    assert losses['loss_reg_coarse'] > 0
    assert losses['loss_rank_fine'] > 0
    # "the" twice, "two", "rings" and "big".
    assert losses['unknown_words'] == 5
    assert losses['dropped_phrases'] == losses['unmatched_phrases'] == 0
    model.parse_losses(losses)[0].backward()
    _assert_trained(model)


@pytest.mark.parametrize(
    'head',
    [
        dict(
            num_stages=1,
            graph=None,
            num_relations=0,
            rec_stages=['coarse'],
            rank_stages=['coarse'],
            regressor_channels=None,
        ),
        dict(regressor_channels=None),
        dict(regress_with_phrase=False),
        dict(graph=dict(edges='uniform')),
        dict(graph=dict(form='paper')),
        dict(graph=dict(form='paper', edges='uniform')),
        dict(matcher_channels=8),
        dict(similarity=dict(form='paper'), softmax='plain', unmatched='scores'),
        dict(
            loss_rec=dict(type='ReconstructionLoss', reduction='sum'),
            loss_reg=dict(type='SelfTaughtRegressionLoss', reduction='sum'),
        ),
        dict(fine_context='fine', fusion='scores', reg_start='refining', detach_boxes=True),
        dict(loss_rel=dict(type='RelationLoss', form='ce'), reduction='mean'),
        dict(loss_rank=None, rank_stages=[]),
        dict(per_image_bn=False, single_phrase_bn='running', ignore_same_image=True),
        dict(topk=40),
    ],
)
def test_every_form_learns_and_predicts(tmp_path, head):
    model = build(tmp_path, **head).train()
    losses = _losses(model)
    total = model.parse_losses(losses)[0]
    assert total.isfinite()
    total.backward()
    _assert_trained(model, without=('head.image_proj',) if head.get('rank_stages') == [] else ())
    with torch.no_grad():
        results = model.eval().test_step(batch(*captions()))
    for sample in results:
        height, width = sample.ori_shape
        boxes = sample.pred_phrases.bboxes
        assert boxes.shape == (len(sample.phrases), 4)
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height] * 2)).all()
        assert ('bboxes_fine' in sample.pred_phrases) == (head.get('num_stages') != 1)


@pytest.mark.parametrize('reg_start', ['always', 'refining'])
def test_before_boxes_are_moved(tmp_path, reg_start):
    """Also where a batch has no relation and no other text."""
    for pairs in (captions(), [caption('[the big ring]')]):
        model = build(tmp_path, reg_start=reg_start, rec_stages=['coarse', 'fine']).train()
        model.head.refining = False
        losses = _losses(model, pairs)
        assert losses.keys() == ALL | COUNTS
        assert (losses['loss_reg_coarse'] > 0) == (reg_start == 'always')
        model.parse_losses(losses)[0].backward()
        _assert_trained(model)
        gradients = [own.grad.any() for own in model.head.box_regressor.parameters()]
        assert any(gradients) == (reg_start == 'always')


def test_training_never_reads_a_box_of_a_phrase(tmp_path):
    """Without boxes, and with those of others, every loss is the same, bit for bit."""
    model = build(tmp_path, rec_stages=['coarse', 'fine']).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = _losses(model)
    shuffled, wrong = captions(), captions()
    for _, sample in shuffled:
        sample.gt_regions = InstanceData(bboxes=sample.gt_regions.bboxes.flip(0))
        sample.links = sample.links[torch.randperm(len(sample.links))].flip(1)
    for _, sample in wrong:
        sample.gt_regions.bboxes.fill_(torch.nan)
    for pairs in (captions(gt=False), shuffled, wrong):
        model.load_state_dict(state)
        losses = _losses(model, pairs)
        assert losses.keys() == expected.keys()
        for name, value in losses.items():
            assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize('bias', [0.0, -40.0])
@pytest.mark.parametrize('softmax', ['masked', 'plain'])
@pytest.mark.parametrize('spatial', [False, True])
def test_a_batch_is_what_its_texts_are_alone(tmp_path, spatial, softmax, bias):
    """Also those of a smaller image of fewer proposals, both of which are padded."""
    cfg = small_reir(tmp_path, spatial_channels=98 if spatial else 0, softmax=softmax)
    cfg['region_encoder']['spatial'] = spatial
    torch.manual_seed(0)
    model = with_vectors(MODELS.build(cfg)).eval()
    torch.nn.init.constant_(model.head.matcher.layers[0].bias, bias)

    def pairs():
        found = captions()
        # All are similar to the phrases, so that only padding could count as 0.
        found[1][1].proposals.labels = torch.tensor([0, 1, 2, 0])
        return found

    with torch.no_grad():
        together = model.test_step(batch(*pairs()))
        scores = together[1].pred_phrases.candidate_scores
        torch.testing.assert_close(scores.sum(1), torch.ones(2), atol=1e-5, rtol=0)
        for index, own in enumerate(together):
            (alone,) = model.test_step(batch(pairs()[index]))
            assert own.pred_phrases.keys() == alone.pred_phrases.keys()
            for name, value in alone.pred_phrases.items():
                torch.testing.assert_close(
                    own.pred_phrases[name], value, msg=name, atol=1e-4, rtol=1e-4
                )


def test_training_of_a_batch_is_that_of_its_texts(tmp_path):
    """With statistics of each image: losses but for the ranking, and running statistics."""
    pairs = captions(other_shape=(66, 90))[:2]
    together, apart = build(tmp_path).train(), build(tmp_path).train()
    losses = _losses(together, pairs)
    singles = [_losses(apart, [pair]) for pair in pairs]
    for name in ALL - {'loss_rank_coarse', 'loss_rank_fine', 'loss_rec_coarse'}:
        expected = sum(single[name] for single in singles)
        torch.testing.assert_close(losses[name], expected, msg=name, atol=1e-5, rtol=1e-4)
    for norm in ('visual_norm', 'phrase_norm'):
        ours, theirs = (getattr(model.head, norm).state_dict() for model in (together, apart))
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, msg=f'{norm}.{name}')
    assert together.head.visual_norm.num_batches_tracked == 4


def test_a_small_example_by_hand(tmp_path):
    """One phrase and its proposals, computed with loops over pairs."""
    model = build(tmp_path, graph=None, num_relations=0).eval()
    head = model.head
    pair = caption('[a red star]')
    data = model.data_preprocessor(batch(pair))
    with torch.no_grad():
        feats = model.encode_image(data['inputs'])
        text = model.encode_text(data['data_samples'])

        def describe(boxes, image_index, fixed=False):
            return model.describe_regions(feats, boxes, image_index)

        result, phrases = head.ground(text, data['data_samples'], describe)
        phrase = head.phrase_norm(phrases.features, phrases.text_index, 1)[0][0]
        boxes = pair[1].proposals.bboxes
        scores, moved, regions = [], [], []
        for box in boxes:
            region = describe(box[None], torch.zeros(1, dtype=torch.int64))
            region = head.visual_embedding(region).relu()
            region = head.visual_norm(region, torch.zeros(1, dtype=torch.int64), 1)[0][0]
            joined = torch.cat((phrase, region))
            scores.append(head.matcher.layers(joined)[0])
            moved.append(head.box_regressor.layers(joined))
            regions.append(region)
        # Proposals of a category without a known word take no part.
        similar = phrases.semantic[0] > 0
        weights = (torch.stack(scores) * phrases.semantic[0]).exp() * similar
        attention = weights / weights.sum()
    assert 3 <= similar.sum() < len(boxes)
    # A part in a million stands in the denominator.
    torch.testing.assert_close(result.coarse.attention[0], attention, atol=2e-6, rtol=0)
    torch.testing.assert_close(result.coarse.deltas[0], torch.stack(moved))
    context = sum(own * region for own, region in zip(attention, regions, strict=True))
    torch.testing.assert_close(result.coarse.context[0], context, atol=1e-5, rtol=1e-5)
    best = attention.argsort(descending=True)[:3]
    assert torch.equal(result.topk[0], best)
    torch.testing.assert_close(result.fused[0], attention[best] * result.fine.attention[0])


def test_refining_is_a_switch_of_training_and_of_inference(tmp_path):
    model = build(tmp_path)
    data = batch(*captions())

    def moved(mode, **settings):
        model.train(mode)
        model.head.refining = settings.get('refining', True)
        model.head.test_cfg['refine'] = settings.get('refine', True)
        with torch.no_grad():
            return model(**model.data_preprocessor(data), mode='tensor').refining

    assert moved(True, refine=False)
    assert not moved(True, refining=False)
    assert moved(False, refining=False)
    assert not moved(False, refine=False)


def test_boxes_without_refinement_are_proposals(tmp_path):
    model = build(tmp_path, test_cfg=dict(refine=False)).eval()
    with torch.no_grad():
        for sample in model.test_step(batch(*captions())):
            known = {tuple(box) for box in sample.proposals.bboxes.tolist()}
            for name in ('bboxes', 'bboxes_coarse', 'bboxes_fine', 'bboxes_initial'):
                for box in sample.pred_phrases[name]:
                    assert min(abs(box - torch.tensor(own)).max() for own in known) < 1e-4


@pytest.mark.parametrize('softmax', ['masked', 'plain'])
@pytest.mark.parametrize('unmatched', ['zero', 'scores'])
def test_a_phrase_without_known_words(tmp_path, unmatched, softmax):
    pair = caption('[is] near [a star]')
    model = build(tmp_path, unmatched=unmatched, softmax=softmax).eval()
    with torch.no_grad():
        (sample,) = model.test_step(batch(pair))
        found = sample.pred_phrases
        assert found.unmatched.tolist() == [True, False]
        scores = found.candidate_scores[0]
        if unmatched == 'scores':
            assert scores.sum() > 0.9 and len(scores.unique()) > 1
        else:
            expected = 0 if softmax == 'masked' else 1 / len(scores)
            torch.testing.assert_close(scores, torch.full_like(scores, expected))
        assert found.bboxes.isfinite().all()
        assert _losses(model.train(), [pair])['unmatched_phrases'] == 1


def test_a_phrase_that_is_unlike_all_proposals(tmp_path):
    """The paper's s^a may be below 0, which is not similar."""
    pair = caption('[a red star]', num=4)
    model = build(tmp_path, similarity=dict(form='paper'), softmax='plain').eval()
    with torch.no_grad():
        assert not model.test_step(batch(pair))[0].pred_phrases.unmatched.any()
        model.head.similarity._categories.neg_()
        assert model.test_step(batch(pair))[0].pred_phrases.unmatched.all()


@pytest.mark.parametrize('softmax', ['masked', 'plain'])
def test_the_product_of_scores(tmp_path, softmax):
    """Eq. 11 by loops, also of a phrase that is matched without s^a."""
    model = build(
        tmp_path, fusion='scores', unmatched='scores', softmax=softmax, test_cfg=dict(refine=False)
    ).eval()
    pair = caption('[is] near [a star]')
    # All are similar to the second phrase.
    pair[1].proposals.labels = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        (sample,) = model.test_step(batch(pair))
        result = model(**model.data_preprocessor(batch(pair)), mode='tensor')
    coarse, fine, found = result.coarse, result.fine, sample.pred_phrases
    for phrase in range(2):
        products = []
        for place, proposal in enumerate(result.topk[phrase]):
            one, two = coarse.scores[phrase, proposal], fine.scores[phrase, place]
            if phrase == 1:
                one = one * coarse.semantic[phrase, proposal]
                two = two * fine.semantic[phrase, place]
            products.append(one * two)
        products = torch.stack(products)
        assert products.std() > 0
        torch.testing.assert_close(found.scores[phrase], products.max())
        best = sample.proposals.bboxes[result.topk[phrase, products.argmax()]]
        torch.testing.assert_close(found.bboxes[phrase], best)
    assert found.unmatched.tolist() == [True, False]


def test_a_checkpoint_carries_both_vocabularies(tmp_path):
    model = build(tmp_path).eval()
    path = tmp_path / 'model.pth'
    torch.save(model.state_dict(), path)
    cfg = small_reir(tmp_path)
    cfg['text_encoder']['vocab_file'] = 'nowhere.txt'
    cfg['head']['decoder']['vocab_file'] = 'nowhere.txt'
    other = with_vectors(MODELS.build(cfg)).eval()
    with pytest.raises(RuntimeError, match=r'no vocabulary.*nowhere\.txt'):
        other.test_step(batch(caption('[a star]')))
    names = other.load_state_dict(torch.load(path, weights_only=True), strict=True)
    assert not names.missing_keys
    with torch.no_grad():
        for own, theirs in zip(
            other.test_step(batch(*captions())), model.test_step(batch(*captions())), strict=True
        ):
            assert torch.equal(own.pred_phrases.bboxes, theirs.pred_phrases.bboxes)


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_mixed_precision(tmp_path, dtype):
    model = build(tmp_path).train()
    with torch.autocast('cpu', dtype):
        losses = _losses(model)
    model.parse_losses(losses)[0].backward()
    _assert_trained(model)
    exact = _losses(build(tmp_path).train())
    for name in ('loss_rec_fine', 'loss_rel', 'loss_rank_coarse'):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], exact[name], rtol=0.05, atol=0.05)


def test_regions_are_those_of_a_direct_computation(tmp_path):
    """RoIAlign and layer4 on images padded to even sizes."""
    model = build(tmp_path).eval()
    pairs = [caption('[a star]', img_shape=(65, 91)), caption('[a ring]', 'b.jpg', (50, 61))]
    data = model.data_preprocessor(batch(*pairs))
    assert data['inputs'].shape[-2:] == (66, 92)
    regions = RegionBatch.pack(data['data_samples'], 'cpu')
    boxes, image_index = regions.rows()
    with torch.no_grad():
        feats = model.encode_image(data['inputs'])
        ours = model.describe_regions(feats, boxes, image_index)
        row = 0
        for index, (pixels, sample) in enumerate(pairs):
            mean = torch.tensor([103.0, 116.0, 123.0])[:, None, None]
            canvas = torch.zeros(1, 3, 66, 92)
            canvas[0, :, : pixels.shape[1], : pixels.shape[2]] = (pixels.float() - mean) / 60
            (c4,) = model.backbone(canvas)
            own = sample.proposals.bboxes
            rois = torch.cat((torch.zeros(len(own), 1), own), 1)
            crops = roi_align(c4, rois, (7, 7), 1 / 16, 2, 'avg', True)
            for block in model.region_encoder.layer4:
                crops = block(crops)
            assert index == image_index[row]
            torch.testing.assert_close(ours[row : row + len(own)], crops.mean((2, 3)))
            row += len(own)
    assert row == len(ours)


def test_relations_are_those_of_a_file(tmp_path):
    path = tmp_path / 'relations.json'
    path.write_text(json.dumps(flickr_relations()))
    model = build(
        tmp_path,
        num_relations=str(path),
        loss_rel=dict(type='RelationLoss', class_counts=str(path)),
    ).train()
    assert model.head.relation[-1].out_features == 3
    assert _losses(model)['loss_rel'] > 0
    torch.testing.assert_close(
        model.head.loss_rel.class_weights(3), relation_class_weights([3, 2, 1])
    )


def test_images_with_one_proposal_leave_running_statistics_alone(tmp_path):
    model = build(tmp_path).train()
    lonely = caption('[a star] near the grass', num=2)
    lonely[1].proposals = lonely[1].proposals[:1]
    before = model.head.visual_norm.running_var.clone()
    model.parse_losses(_losses(model, [lonely]))[0].backward()
    assert torch.equal(model.head.visual_norm.running_var, before)
    _losses(model)
    assert not torch.equal(model.head.visual_norm.running_var, before)


def test_a_batch_without_phrases(tmp_path):
    model = build(tmp_path).eval()
    pixels, sample = caption('[a star] near [the grass]', gt=False)
    sample.set_metainfo(dict(phrases=[]))
    (result,) = model.test_step(batch((pixels, sample)))
    assert result.pred_phrases.bboxes.shape == (0, 4)


def test_spatial_features(tmp_path):
    cfg = small_reir(tmp_path, spatial_channels=98, spatial_embed_channels=10)
    cfg['region_encoder']['spatial'] = True
    model = with_vectors(MODELS.build(cfg)).eval()
    feats = (torch.zeros(1, 32, 8, 10),)
    # A crop of 7 x 7 whole cells: their centres.
    box = torch.tensor([[16.0, 16.0, 128.0, 128.0]])
    with torch.no_grad():
        described = model.describe_regions(feats, box, torch.zeros(1, dtype=torch.int64))
        assert described.shape == (1, 64 + 98)
        rows, columns = described[0, 64:].view(2, 7, 7)
        cells = torch.arange(1, 8)
        # Past the last row of the map, its own value is repeated.
        torch.testing.assert_close(rows[:6, 0], cells[:6] / 4 - 1.0)
        torch.testing.assert_close(columns[0], cells / 5 - 1.0)
        assert model.test_step(batch(*captions()))[0].pred_phrases.bboxes.isfinite().all()


def test_what_is_wrong_is_said(tmp_path):
    model = build(tmp_path)
    pixels, sample = caption('[a star]')
    del sample.proposals
    with pytest.raises(ValueError, match='has no proposals: add LoadProposals'):
        _losses(model, [(pixels, sample)])
    pairs = [caption('[a star]'), caption('[a ring]')]
    pairs[1][1].proposals.bboxes[0] += 1
    with pytest.raises(ValueError, match='of one image but have different proposals'):
        _losses(model, pairs)
    pixels, sample = caption('[a star] near [a ring]', relations=[((0, 1), [0])])
    sample.relation_labels = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match='of 5 relations, but the model tells 3'):
        _losses(model, [(pixels, sample)])
    del sample.relation_labels
    with pytest.raises(ValueError, match='relations without relation_labels'):
        _losses(model, [(pixels, sample)])
    for spatial in (0, 98):
        cfg = small_reir(tmp_path, spatial_channels=spatial)
        cfg['region_encoder']['spatial'] = not spatial
        with pytest.raises(ValueError, match=f'spatial_channels is {spatial}: the latter must'):
            _losses(with_vectors(MODELS.build(cfg)))
    with pytest.raises(ValueError, match=r'channels=16 .* but model\.head\.channels is 8'):
        _losses(build(tmp_path, channels=8))
    model.head.similarity._vectors = None
    with pytest.raises(RuntimeError, match='no vectors of words'):
        _losses(model)
    for head, message in (
        (dict(num_stages=3), 'num_stages must be'),
        (dict(rec_stages=['final']), 'rec_stages must be'),
        (dict(num_stages=1, rec_stages=['coarse'], rank_stages=[]), 'of the fine stage'),
        (dict(softmax='hard'), 'softmax must be'),
        (dict(fusion='sum'), 'fusion must be'),
    ):
        with pytest.raises(ValueError, match=message):
            build(tmp_path, **head)


def test_phrases_are_packed(tmp_path):
    model = build(tmp_path)
    samples = model.data_preprocessor(batch(*captions()))['data_samples']
    phrases = PhraseBatch.pack(model.encode_text(samples), samples)
    assert phrases.words[0] == ['a', 'red', 'star']
    assert phrases.text_index.tolist() == [0, 0, 0, 1, 1, 2]
    assert phrases.owner.tolist() == [0, 0, 0, 1, 1, 0]
    assert phrases.edges.tolist() == [[0, 1], [0, 2], [3, 4]]
    assert phrases.edge_labels.sum(1).tolist() == [2, 0, 1]
    text = model.encode_text(samples)
    torch.testing.assert_close(phrases.features[1], text.pieces[0, 5:7].mean(0))
    torch.testing.assert_close(phrases.sentences[2], text.pieces[2, :3].mean(0))
    assert torch.equal(phrases.embeddings[1, :2], text.embeddings[0, 5:7])
    assert not phrases.embeddings[1, 2:].any()


def test_the_graph_is_kept_on_demand(tmp_path):
    model = build(tmp_path, graph=dict(edge_channels=8)).eval()
    with torch.no_grad():
        model.head.graph.edge_proj.weight.mul_(5)
        data = model.data_preprocessor(batch(*captions()))
        whole = model(**data, mode='tensor').graph.weights
        assert 'graph_weights' not in model.test_step(batch(*captions()))[0].pred_phrases
        model.head.test_cfg['keep_graph'] = True
        found = [own.pred_phrases.graph_weights for own in model.test_step(batch(*captions()))]
    assert [own.shape for own in found] == [(3, 3), (2, 2), (1, 1)]
    assert torch.equal(torch.block_diag(*found), whole)
    assert whole.any()
    plain = build(tmp_path, graph=None, num_relations=0, test_cfg=dict(keep_graph=True)).eval()
    with torch.no_grad():
        assert 'graph_weights' not in plain.test_step(batch(*captions()))[0].pred_phrases


def _from_files(root, relations, **dataset):
    """The training samples of a folder, as a config's pipeline makes them."""
    dataset = Flickr30kEntitiesDataset(
        ann_file='train.txt',
        data_root=str(root),
        relations=relations,
        pipeline=[
            dict(type='LoadGroundingImage'),
            dict(type='Resize', scale=(128, 96), keep_ratio=True),
            dict(type='LoadProposals', path=str(root / 'proposals.db')),
            dict(type='PackGroundingInputs'),
        ],
        **dataset,
    )
    items = [dataset[index] for index in range(len(dataset))]
    return [(item['inputs'], item['data_samples']) for item in items]


@pytest.mark.parametrize('keep', ['boxed', 'visual'])
def test_training_never_reads_a_box_of_the_files(tmp_path, keep):
    """Where phrases are is of no matter; whether they are anywhere is to ``keep='boxed'`` alone."""
    root = tmp_path / 'data'
    write_flickr30k_dataset(root)
    (root / 'relations.json').write_text(json.dumps(flickr_relations()))
    write_proposals(root / 'proposals.db', ['1000'])
    loss_reg = dict(type='SelfTaughtRegressionLoss', score_gap=0.0)
    cfg = small_reir(tmp_path, rec_stages=['coarse', 'fine'], loss_reg=loss_reg)
    (tmp_path / 'words.txt').write_text('two\nyoung\nguys\nhair\nmen\nnear\nthem\n')
    torch.manual_seed(0)
    model = with_vectors(MODELS.build(cfg)).train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    names = [['11', '16'], ['12'], ['14'], ['15'], ['17']]
    moved = [flickr_box(own, 1, 1, 7 + 2 * i, 20 - i) for i, own in enumerate(names)]
    unboxed = [flickr_box(['14'], 1, 0), flickr_box(['15'], 0, 1)]
    versions = [None, [*moved[:2], *unboxed, *moved[4:]]]
    if keep == 'visual':
        versions += [moved, []]
    expected, seen = None, set()
    for objects in versions:
        (root / 'Annotations/1000.xml').write_text(flickr_xml('1000', objects=objects))
        pairs = _from_files(root, 'relations.json', keep=keep)
        seen.add(str([sample.gt_regions.bboxes.tolist() for _, sample in pairs]))
        assert sum(len(sample.phrases) for _, sample in pairs) == (10 if keep == 'visual' else 6)
        model.load_state_dict(state)
        losses = _losses(model, pairs)
        assert losses['loss_reg_coarse'] > 0 and losses['loss_rel'] > 0
        expected = expected or losses
        for name, value in losses.items():
            assert torch.equal(value, expected[name]), name
    assert len(seen) == len(versions)
