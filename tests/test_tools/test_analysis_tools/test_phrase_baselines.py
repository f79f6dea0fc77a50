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


@pytest.fixture(scope='module')
def run(main, files, tmp_path_factory):
    """Measures by baseline, and the folder of the predictions."""
    out = tmp_path_factory.mktemp('out')
    return main([files.config, '--out-dir', str(out), '--device', 'cpu']), out


def test_measures_are_those_of_the_files(run):
    measures, out = run
    assert list(measures) == ['random', 'similarity', 'untrained']
    for name, own in measures.items():
        hits = []
        for sample in DumpedResults(str(out / f'{name}.jsonl.gz')):
            truth = phrase_boxes(sample.gt_regions.bboxes, sample.links, len(sample.phrases))
            ious = box_iou(sample.pred_phrases.bboxes, truth).double()
            has_box = sample.links[:, 0].bincount(minlength=len(ious)) > 0
            hits += (ious >= 0.5)[has_box].tolist()
        assert own['phrases/num_phrases'] == len(hits) > 20
        assert own['phrases/Acc@0.5'] == pytest.approx(100 * sum(hits) / len(hits))


def test_the_surest_of_the_most_similar(run, files):
    """Proposals of the factory have categories in turn, and the first is the surest."""
    store = ProposalStore(files.proposals)
    forms = {form: kind for kind, names in THINGS.items() for own in names for form in own}
    checked = 0
    for sample in DumpedResults(str(run[1] / 'similarity.jsonl.gz')):
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


def test_another_seed_draws_others(main, run, files, tmp_path, capsys):
    found = {}
    for seed, out in (('0', run[1]), ('1', tmp_path)):
        if out is tmp_path:
            main([files.config, '--out-dir', str(out), '--device', 'cpu', '--seed', seed])
        found[seed] = {
            name: torch.cat(
                [own.pred_phrases.bboxes for own in DumpedResults(str(out / f'{name}.jsonl.gz'))]
            )
            for name in ('random', 'similarity')
        }
    assert not torch.equal(found['0']['random'], found['1']['random'])
    assert torch.equal(found['0']['similarity'], found['1']['similarity'])
    assert 'untrained:' in capsys.readouterr().out


def test_another_kind_of_model(main, tmp_path, capsys):
    config = referring_files(tmp_path).config
    with pytest.raises(SystemExit) as stop:
        main([config, '--device', 'cpu'])
    assert stop.value.code == 2
    assert 'does not choose among proposals' in capsys.readouterr().err
