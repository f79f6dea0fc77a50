"""The inferencer with a system that chooses among proposals."""

import json

import cv2
import numpy as np
import pytest
import torch
from small_detectors import small_faster_rcnn, write_detector
from small_reir import shapes_reir

from mmground.apis import GroundingInferencer, ProposalExtractor, init_model
from mmground.apis.proposal_source import ProposalSource
from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.proposal_store import ProposalStore
from mmground.datasets.relation_parsing import Dependencies
from mmground.registry import DATASETS
from mmground.structures import format_markup

CLASSES = list(THINGS)
TEXT = 'A [red ball] is near [a big box], on the grass.'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['flickr30k'], dict(train=3, val=2, test=2), size=64, seed=2)
    return folder


@pytest.fixture(scope='module')
def files(root, tmp_path_factory):
    return shapes_reir(tmp_path_factory.mktemp('reir'), root)


@pytest.fixture(scope='module')
def detector_files(tmp_path_factory, config_dir):
    return write_detector(tmp_path_factory.mktemp('detector'), small_faster_rcnn(config_dir))


def build(files, **kwargs):
    return GroundingInferencer(files.config, files.checkpoint, 'cpu', show_progress=False, **kwargs)


@pytest.fixture(scope='module')
def looking_up(files):
    return build(files, proposals=files.proposals)


def boxes(num=6):
    generator = np.random.default_rng(0)
    corners = np.sort(generator.uniform(0, 60, (num, 2, 2)), axis=1)
    found = corners.reshape(num, 4)
    found[:, 2:] += 4
    return found


def test_what_the_test_data_gives(looking_up, files, tmp_path):
    """Image, caption, file of proposals and relations: the same as through the data set."""
    model = init_model(files.config, files.checkpoint)
    data = DATASETS.build(model.cfg.test_dataloader.dataset)
    related = 0
    for index in range(len(data)):
        item = data[index]
        with torch.no_grad():
            batch = {key: [value] for key, value in item.items()}
            (sample,) = model.test_step(batch)
        text = format_markup(sample.text, [phrase['span'] for phrase in sample.phrases])
        relations = sample.relations.tolist()
        related += bool(relations)
        found = looking_up(sample.img_path, text, relations=relations)['predictions'][0]['phrases']
        predicted = sample.pred_phrases
        assert len(found) == len(predicted)
        for phrase, box, initial, score in zip(
            found, predicted.bboxes, predicted.bboxes_initial, predicted.scores, strict=True
        ):
            assert phrase['bbox'] == pytest.approx(box.tolist(), abs=1e-3)
            assert phrase['bbox_initial'] == pytest.approx(initial.tolist(), abs=1e-3)
            assert phrase['score'] == pytest.approx(score.item(), abs=1e-5)
            assert phrase['unmatched'] is False
    assert related
    out = tmp_path / 'out'
    result = looking_up(files.image, TEXT, out_dir=out)
    assert (
        json.loads((out / 'preds' / f'{data[0]["data_samples"].img_id}.json').read_text())
        == (result['predictions'][0])
    )
    assert len(result['files']) == 2


def test_relations_change_the_result(looking_up, files):
    def found(relations):
        sample = looking_up(files.image, TEXT, relations=relations, return_datasamples=True)
        return sample['predictions'][0].pred_phrases.scores

    assert torch.equal(found(None), found([]))
    assert torch.equal(found([(0, 1)]), found([(1, 0)]))
    assert not torch.equal(found([(0, 1)]), found(None))
    texts = ['[a ball] and [a box]', '[the star]', '[a ring] on [a heart] by [a cross]']
    graphs = [[(0, 1)], None, [[1, 2], (0, 1)]]
    together = looking_up(files.image, texts, relations=graphs)['predictions']
    for text, graph, own in zip(texts, graphs, together, strict=True):
        (alone,) = looking_up(files.image, text, relations=graph)['predictions']
        for one, two in zip(own['phrases'], alone['phrases'], strict=True):
            assert one['score'] == pytest.approx(two['score'], abs=1e-5)
            assert one['bbox'] == pytest.approx(two['bbox'], abs=1e-3)


def test_relations_by_a_parse(looking_up, files, monkeypatch):
    asked = []

    def parser():
        def parse(captions):
            for words in captions:
                asked.append(words)
                # "big box" hangs on "near", and that on "ball", the head of the first phrase.
                heads = [2, 2, 3, 3, 3, 7, 7, 4, 3, 3, 11, 9, 3]
                deps = [*['det', 'amod', 'nsubj', 'ROOT', 'prep', 'det', 'amod', 'pobj'], 'punct']
                deps += ['prep', 'det', 'pobj', 'punct']
                lemmas = [word if word != 'is' else 'be' for word in words]
                yield Dependencies(words, heads, deps, lemmas)

        return parse

    monkeypatch.setattr('mmground.apis.grounding_inferencer.spacy_parser', parser)
    results = [looking_up(files.image, TEXT, relations=own) for own in ('parse', [(0, 1)])]
    assert [' '.join(words) for words in asked] == ['A red ball is near a big box , on the grass .']
    assert results[0]['predictions'] == results[1]['predictions']
    looking_up._parse = None


def test_a_live_detector(files, root, detector_files):
    detector = ProposalExtractor(*detector_files)
    inferencer = build(files, proposals=detector)
    images = sorted(str(path) for path in (root / 'images/test2017').iterdir())
    results = inferencer(images, TEXT, batch_size=2, return_datasamples=True)['predictions']
    for image, sample in zip(images, results, strict=True):
        (expected,) = detector({k: [v] for k, v in detector.prepare(image).items()})
        # 20 of the detector's 50: as many as the pipeline loads.
        assert len(expected['boxes']) > 20
        assert sample.proposals.bboxes.numpy() == pytest.approx(expected['boxes'][:20], abs=1e-2)
        assert sample.proposals.labels.tolist() == expected['labels'][:20].tolist()
        (alone,) = inferencer(image, TEXT)['predictions']
        (in_memory,) = inferencer(cv2.imread(image), TEXT)['predictions']
        assert alone['phrases'] == in_memory['phrases']
        assert sample.pred_phrases.bboxes[0].tolist() == pytest.approx(
            alone['phrases'][0]['bbox'], abs=1e-2
        )
    # Those of a call come before the detector's.
    given = dict(boxes=boxes(), labels=['box', 'ball'] * 3)
    (sample,) = inferencer(images[0], TEXT, proposals=given, return_datasamples=True)['predictions']
    assert sample.proposals.bboxes.numpy() == pytest.approx(boxes(), abs=1e-4)


def test_proposals_of_the_caller(files, root):
    inferencer = build(files)
    labels = ['box', 'ball', 'star', 'ball', 'box', 'ring']
    scores = [0.1, 0.5, 0.3, 0.9, 0.5, 0.2]
    given = dict(boxes=boxes(), labels=labels, scores=scores)
    (sample,) = inferencer(files.image, TEXT, proposals=given, return_datasamples=True)[
        'predictions'
    ]
    order = [3, 1, 4, 2, 5, 0]
    assert sample.proposals.bboxes.numpy() == pytest.approx(boxes()[order], abs=1e-4)
    assert sample.proposals.labels.tolist() == [CLASSES.index(labels[i]) for i in order]
    known = {tuple(box) for box in sample.proposals.bboxes.round(decimals=3).tolist()}
    for box in sample.pred_phrases.bboxes_initial.round(decimals=3).tolist():
        assert tuple(box) in known
    # By index and without scores; more than the model takes.
    many = dict(boxes=np.tile(boxes(), (5, 1)), labels=[0, 1] * 15)
    images = sorted(str(path) for path in (root / 'images/test2017').iterdir())
    samples = inferencer(images, TEXT, proposals=[many, given], return_datasamples=True)[
        'predictions'
    ]
    assert [len(own.proposals.bboxes) for own in samples] == [20, 6]
    with pytest.raises(ValueError, match='listed several times with different proposals'):
        inferencer([images[0]] * 2, TEXT, proposals=[many, given])


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(boxes=boxes()), "must be a dict of boxes.*'labels'"),
        (dict(boxes=boxes(), labels=['unicorn'] * 6), "'unicorn' is no category"),
        (dict(boxes=boxes(), labels=[99] * 6), '99 is no index'),
        (dict(boxes=boxes(), labels=[0]), '6 boxes, 1 labels'),
        (dict(boxes=boxes()[:, [2, 3, 0, 1]], labels=[0] * 6), 'a box without area'),
        (dict(boxes=boxes() * np.nan, labels=[0] * 6), 'not finite'),
        (dict(boxes=boxes() + 500, labels=[0] * 6), 'lies outside of image .* 64 x 64'),
        (dict(boxes=np.zeros((0, 4)), labels=[]), 'no proposals for image'),
    ],
)
def test_proposals_that_are_wrong(files, given, message):
    with pytest.raises(ValueError, match=message):
        build(files)(files.image, TEXT, proposals=given)


def test_what_is_wrong_is_said(looking_up, files, detector_files, root, tmp_path):
    image = files.image
    for text, message in (
        ('A red ball [', 'is never closed'),
        ('[zxcv] near [a ball]', "no word of the phrase 'zxcv'"),
    ):
        with pytest.raises(ValueError, match=message):
            looking_up(image, text)
    with pytest.raises(ValueError, match=r'there are none for image .*: give a detector'):
        build(files)(image, TEXT)
    with pytest.raises(ValueError, match='an image in memory has no name'):
        looking_up(cv2.imread(image), TEXT)
    other = str(tmp_path / 'other.jpg')
    cv2.imwrite(other, cv2.imread(image))
    with pytest.raises(ValueError, match=r"no proposals for image 'other' .*; or give a detector"):
        looking_up(other, TEXT)
    with pytest.raises(FileNotFoundError, match='the proposals do not exist'):
        build(files, proposals='nowhere.db')
    for relations, error, message in (
        ([(0, 2)], ValueError, r'relation 1-3 .*\(0, 2\).* is not between two of the 2 phrases'),
        ([(1, 1)], ValueError, r'relation 2-2 .*\(1, 1\).* is not between'),
        ('guess', TypeError, "'parse', got 'guess'"),
        ([[(0, 1)]] * 2, ValueError, '2 lists of relations'),
    ):
        with pytest.raises(error, match=message):
            looking_up(image, TEXT, relations=relations)
    names = [*CLASSES[:3], 'unicorn', *CLASSES[4:]]
    detector = ProposalExtractor(*detector_files, classes=names)
    with pytest.raises(ValueError, match=r"detector have other.*number 3 is 'unicorn' and 'star'"):
        build(files, proposals=detector)
    header = ProposalStore(files.proposals).header
    with pytest.raises(ValueError, match="number 9 is 'crescent' and none"):
        ProposalSource(files.proposals, header['classes'][:9], 5)


def test_a_phrase_that_is_like_no_proposal(files):
    """Its words have vectors, but nothing that was proposed is like them."""
    inferencer = build(files)
    with torch.no_grad():
        similarity = inferencer.model.head.similarity
        similarity.names  # noqa: B018 - read from files here
        similarity._categories[CLASSES.index('star')] *= 0
    given = dict(boxes=boxes(), labels=['star'] * 6)
    with pytest.warns(UserWarning, match="phrase 'the ball' .* box is a guess"):
        (result,) = inferencer(files.image, '[the ball]', proposals=given)['predictions']
    assert result['phrases'][0]['unmatched'] is True
    # A model that does without: also if no word is known.
    inferencer.model.head.unmatched = 'scores'
    for phrase in ('the ball', 'zxcv'):
        with pytest.warns(UserWarning, match=f"'{phrase}' .* and matched without categories"):
            (result,) = inferencer(files.image, f'[{phrase}]', proposals=given)['predictions']
        assert result['phrases'][0]['unmatched'] is True


def test_systems_that_take_no_proposals(toy_files, files, root, tmp_path):
    toy = GroundingInferencer(toy_files.config, toy_files.checkpoint, 'cpu')
    with pytest.raises(ValueError, match=r'ToyGrounder.* does not choose among any'):
        toy(toy_files.image, '[red]', proposals=dict(boxes=boxes(), labels=[0] * 6))
    with pytest.raises(ValueError, match=r'ToyGrounder.* has no object graph'):
        toy(toy_files.image, '[red] on [green]', relations=[(0, 1)])
    with pytest.raises(ValueError, match=r'ToyGrounder.* does not choose among any'):
        GroundingInferencer(
            toy_files.config, toy_files.checkpoint, 'cpu', proposals=files.proposals
        )
    plain = shapes_reir(tmp_path, root, graph=None, num_relations=0)
    with pytest.raises(ValueError, match='has no object graph'):
        build(plain, proposals=plain.proposals)(plain.image, TEXT, relations=[(0, 1)])
