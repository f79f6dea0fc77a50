"""The tool, with a parser that knows two captions by heart."""

import json
from pathlib import Path

import pytest
from data_factory import write_flickr30k_dataset
from tool_loader import load_tool

from mmground.datasets import Flickr30kEntitiesDataset, relation_parsing
from mmground.datasets.relation_parsing import Dependencies


@pytest.fixture
def root(tmp_path):
    return write_flickr30k_dataset(tmp_path)


def fake_parser(model):
    """Prepositions belong to the first word, and are about the second word behind."""
    assert model == 'en_test'

    def parse(captions):
        for words in captions:
            heads, deps = [0] * len(words), ['dep'] * len(words)
            for i, word in enumerate(words):
                if word in ('with', 'near') and i > 0:
                    heads[i], deps[i] = 0, 'prep'
                    end = i + 2
                    heads[end], deps[end] = i, 'pobj'
                    heads[i + 1] = end
            yield Dependencies(words, heads, deps)

    return parse


def test_the_data_set_reads_what_is_written(root, monkeypatch, capsys):
    monkeypatch.setattr(relation_parsing, 'spacy_parser', fake_parser)
    file = load_tool('dataset_converters/parse_relations')(
        [root, '--model', 'en_test', '--min-count', '0']
    )
    out = capsys.readouterr().out
    assert '2 relations, 2 of 2 categories' in out and '1 with' in out
    content = json.loads(Path(root, 'relations.json').read_text())
    assert content['predicates'] == file.predicates == ['near', 'with']
    assert content['counts'] == [1, 1]
    assert content['info'] == dict(parser='spaCy en_test', min_count=0, counted='train')
    assert content['relations']['36979'] == [[], []]
    assert [len(own) for own in content['relations']['1000']] == [1, 1, 0, 0, 0]
    # "Two young guys with shaggy hair", "Two men near a cart".
    assert content['relations']['1000'][0] == [[0, 1, [1], 'with']]
    assert content['relations']['1000'][1] == [[0, 1, [0], 'near']]
    dataset = Flickr30kEntitiesDataset(
        ann_file='train.txt', relations='relations.json', data_root=root
    )
    assert dataset.get_data_info(0)['relations'] == [(0, 1, [1])]
    assert dataset.get_data_info(1)['relations'] == []  # the cart has no box


def test_rare_relations(root, monkeypatch, capsys):
    monkeypatch.setattr(relation_parsing, 'spacy_parser', fake_parser)
    tool = load_tool('dataset_converters/parse_relations')
    tool([root, '--model', 'en_test', '--out', f'{root}/other.json'])
    assert 'lower --min-count' in capsys.readouterr().out
    content = json.loads(Path(root, 'other.json').read_text())
    assert content['predicates'] == [] and content['relations']['1000'][0] == [[0, 1, [], 'with']]


def test_without_spacy(root, monkeypatch, capsys):
    def missing(model):
        raise ImportError("needs spaCy: pip install 'mmground[nlp]'")

    monkeypatch.setattr(relation_parsing, 'spacy_parser', missing)
    with pytest.raises(SystemExit) as stop:
        load_tool('dataset_converters/parse_relations')([root])
    assert stop.value.code == 2
    assert 'mmground[nlp]' in capsys.readouterr().err
    assert not Path(root, 'relations.json').exists()
