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
    assert '2 relations, 1 of 1 categories' in out and '1 with' in out
    content = json.loads(Path(root, 'relations.json').read_text())
    # The cart has no box, so nothing would be learned of "near".
    assert content['predicates'] == file.predicates == ['with']
    assert content['counts'] == [1]
    assert content['info'] == dict(
        parser='spaCy en_test', min_count=0, counted='train', keep='boxed'
    )
    assert content['relations']['36979'] == [[], []]
    assert [len(own) for own in content['relations']['1000']] == [1, 1, 0, 0, 0]
    # "Two young guys with shaggy hair", "Two men near a cart".
    assert content['relations']['1000'][0] == [[0, 1, [0], 'with']]
    assert content['relations']['1000'][1] == [[0, 1, [], 'near']]
    dataset = Flickr30kEntitiesDataset(
        ann_file='train.txt', relations='relations.json', data_root=root
    )
    assert dataset.get_data_info(0)['relations'] == [(0, 1, [0])]
    assert dataset.get_data_info(1)['relations'] == []


def test_relations_of_phrases_without_a_box_count_on_demand(root, monkeypatch):
    monkeypatch.setattr(relation_parsing, 'spacy_parser', fake_parser)
    tool = load_tool('dataset_converters/parse_relations')
    options = [root, '--model', 'en_test', '--min-count', '0']
    with pytest.raises(FileNotFoundError, match='the file of boxes'):
        Path(root, 'Annotations').rename(Path(root, 'elsewhere'))
        tool(options)
    for keep in ('visual', 'all'):
        file = tool([*options, '--keep', keep])
        assert (file.predicates, file.counts) == (['near', 'with'], [1, 1])
        assert file.info['keep'] == keep


def test_counts_are_of_the_captions_of_the_list_and_of_pairs(root, monkeypatch):
    def parser(model):
        def parse(captions):
            for words in captions:
                yield Dependencies(words, [0] * len(words), ['dep'] * len(words))

        return parse

    def relations(tree, spans):
        # Two ways to say one relation of a pair, and the other direction.
        if len(spans) < 2:
            return []
        return [(0, 1, 'stand on'), (0, 1, 'sit on'), (1, 0, 'near'), (0, 1, 'on')]

    monkeypatch.setattr(relation_parsing, 'spacy_parser', parser)
    monkeypatch.setattr(relation_parsing, 'find_relations', relations)
    tool = load_tool('dataset_converters/parse_relations')
    options = [root, '--model', 'en_test', '--min-count', '1', '--splits']
    # In captions 0 and 3 both phrases have boxes; in 1 the second has none.
    file = tool([*options, 'train', 'val'])
    assert file.predicates == ['near', 'on', 'sit on', 'stand on']
    assert file.counts == [2, 2, 2, 2]
    Path(root, 'pairs.txt').write_text('1000 3\n1000 1\n')
    file = tool([*options, 'pairs', 'train'])
    assert (file.predicates, file.counts) == (['on'], [1])
    dataset = Flickr30kEntitiesDataset(
        ann_file='pairs.txt', relations='relations.json', data_root=root
    )
    assert dataset.get_data_info(0)['relations'] == [(0, 1, [0]), (1, 0, [])]
    Path(root, 'pairs.txt').write_text('1000 5\n')
    with pytest.raises(ValueError, match=r'pairs\.txt lists caption 5 of image 1000'):
        tool([*options, 'pairs'])


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
