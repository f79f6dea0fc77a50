"""The tool on a small model of random weights, as a user runs it."""

import pytest
import torch
from small_pbrec import referring_files
from small_reir import shapes_reir
from tool_loader import load_tool

from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.proposal_store import ProposalStore
from mmground.evaluation import DumpedResults
from mmground.evaluation.functional import box_iou
from mmground.structures import phrase_boxes


@pytest.fixture(scope='module')
def main():
    return load_tool('analysis_tools/phrase_baselines')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['flickr30k'], dict(train=2, val=2, test=6), size=64, seed=2)
    return folder


@pytest.fixture(scope='module')
def files(root, tmp_path_factory):
    return shapes_reir(tmp_path_factory.mktemp('reir'), root)


def test_measures_are_those_of_the_files(main, files, tmp_path, capsys):
    measures = main([files.config, '--out-dir', str(tmp_path), '--device', 'cpu'])
    assert list(measures) == ['random', 'similarity', 'untrained']
    for name, own in measures.items():
        hits = []
        for sample in DumpedResults(str(tmp_path / f'{name}.jsonl.gz')):
            truth = phrase_boxes(sample.gt_regions.bboxes, sample.links, len(sample.phrases))
            ious = box_iou(sample.pred_phrases.bboxes, truth).double()
            has_box = sample.links[:, 0].bincount(minlength=len(ious)) > 0
            hits += (ious >= 0.5)[has_box].tolist()
        assert own['phrases/num_phrases'] == len(hits) > 20
        assert own['phrases/Acc@0.5'] == pytest.approx(100 * sum(hits) / len(hits))
    assert 'untrained:' in capsys.readouterr().out


def test_the_surest_of_the_most_similar(main, files, tmp_path):
    """Proposals of the factory have categories in turn, and the first is the surest."""
    main([files.config, '--out-dir', str(tmp_path), '--device', 'cpu'])
    store = ProposalStore(files.proposals)
    forms = {form: kind for kind, names in THINGS.items() for own in names for form in own}
    checked = 0
    for sample in DumpedResults(str(tmp_path / 'similarity.jsonl.gz')):
        proposals = store[sample.img_id]
        labels = torch.as_tensor(proposals['labels'])[:20]
        for phrase, box in zip(sample.phrases, sample.pred_phrases.bboxes, strict=True):
            kinds = {forms[word] for word in phrase['text'].lower().split() if word in forms}
            if len(kinds) != 1:
                continue
            same = (labels == list(THINGS).index(kinds.pop())).nonzero()
            if len(same):
                expected = torch.as_tensor(proposals['boxes'])[same[0, 0]]
                assert torch.allclose(box, expected.float(), atol=1e-3)
                checked += 1
    assert checked > 10


def test_another_seed_draws_others(main, files, tmp_path):
    found = []
    for seed in ('0', '0', '1'):
        out = tmp_path / str(len(found))
        main([files.config, '--out-dir', str(out), '--device', 'cpu', '--seed', seed])
        boxes = [own.pred_phrases.bboxes for own in DumpedResults(str(out / 'random.jsonl.gz'))]
        found.append(torch.cat(boxes))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_another_kind_of_model(main, tmp_path, capsys):
    config = referring_files(tmp_path).config
    with pytest.raises(SystemExit) as stop:
        main([config, '--device', 'cpu'])
    assert stop.value.code == 2
    assert 'does not choose among proposals' in capsys.readouterr().err
