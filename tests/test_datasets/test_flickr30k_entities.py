import json
from pathlib import Path

import pytest
from data_factory import flickr_box, flickr_relations, flickr_xml, write_flickr30k_dataset

from mmground.datasets import Flickr30kEntitiesDataset
from mmground.datasets.flickr30k_files import parse_caption, read_boxes, read_captions, read_split
from mmground.datasets.relation_file import count_predicates
from mmground.registry import DATASETS


@pytest.fixture
def root(tmp_path):
    root = write_flickr30k_dataset(tmp_path)
    Path(root, 'relations.json').write_text(json.dumps(flickr_relations()))
    return root


def load(root, split='train', **kwargs):
    return Flickr30kEntitiesDataset(ann_file=f'{split}.txt', data_root=root, **kwargs)


def records(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def phrases(dataset):
    return [[phrase['text'] for phrase in record['phrases']] for record in records(dataset)]


def test_records_by_the_official_rules(root):
    dataset = load(root, relations='relations.json')
    first, second, third = records(dataset)
    expected = dict(
        sample_id='1000_0',
        img_id='1000',
        img_path=f'{root}/flickr30k-images/1000.jpg',
        height=24,
        width=32,
        text='Two young guys with shaggy hair look at it in the yard .',
        phrases=[
            dict(text='Two young guys', span=(0, 14), type='people', phrase_id='11'),
            dict(text='shaggy hair', span=(20, 31), type='bodyparts', phrase_id='12'),
        ],
        # Less 1 each; around the two boxes of chain 11, of which one has another name, too.
        regions=[dict(bbox=(2, 1, 30, 23)), dict(bbox=(4, 3, 8, 7))],
        links=[(0, 0), (1, 1)],
        relations=[(0, 1, [0])],
        num_predicates=3,
    )
    assert {key: first[key] for key in expected} == expected
    # A chain that is mentioned twice is one region; the cart between them has no box.
    assert [phrase['text'] for phrase in second['phrases']] == ['Two men', 'them']
    assert second['regions'] == [dict(bbox=(2, 1, 30, 23))]
    assert second['links'] == [(0, 0), (1, 0)]
    assert second['relations'] == [(0, 1, [2, 1]), (1, 0, [])]
    assert third['sample_id'] == '1000_3'
    assert [region['bbox'] for region in third['regions']] == [(2, 3, 12, 23), (0, 1, 9, 2)]
    assert dataset.metainfo['predicates'] == ['with', 'near', 'by']
    assert dataset.counts == dict(
        captions=5,
        samples=3,
        captions_without_phrase=2,
        phrases=11,
        kept=6,
        not_visual=1,
        scene=2,
        no_box=1,
        unknown_chains=1,
        empty_boxes=1,
        relations=4,
        dropped_relations=1,
    )
    assert DATASETS.get('Flickr30kEntitiesDataset') is Flickr30kEntitiesDataset


def test_all_boxes(root):
    first = records(load(root, boxes='all'))[0]
    assert [region['bbox'] for region in first['regions']] == [
        (2, 3, 12, 23), (9, 1, 30, 19), (4, 3, 8, 7)
    ]  # fmt: skip
    assert first['links'] == [(0, 0), (0, 1), (1, 2)]


def test_phrases_without_a_box(root):
    relations = dict(relations='relations.json')
    visual, everything = (load(root, keep=keep, **relations) for keep in ('visual', 'all'))
    assert phrases(visual) == [
        ['Two young guys', 'shaggy hair', 'the yard'],
        ['Two men', 'a cart', 'them'],
        ['a green yard'],
        ['One', 'a rope', 'a pit'],
    ]
    assert phrases(everything)[0] == ['Two young guys', 'shaggy hair', 'it', 'the yard']
    assert phrases(everything)[1:] == phrases(visual)[1:]
    first, second, third, _ = records(visual)
    assert first['links'] == [(0, 0), (1, 1)] and first['relations'] == [(0, 1, [0]), (0, 2, [1])]
    assert second['relations'] == [(0, 2, [2, 1]), (2, 0, [])]
    assert third['regions'] == [] and third['links'] == []
    assert records(everything)[0]['relations'][1] == (0, 3, [1])
    with pytest.raises(ValueError, match="use keep='boxed'"):
        load(root, keep='visual', test_mode=True)


def test_relations_of_a_pair_are_one(root):
    content = flickr_relations()
    content['relations']['1000'][1] += [[0, 2, [0, 2], 'with'], [2, 0, [1], 'near']]
    Path(root, 'relations.json').write_text(json.dumps(content))
    pipeline = [dict(type='LoadGroundingImage'), dict(type='PackGroundingInputs')]
    dataset = load(root, relations='relations.json', pipeline=pipeline)
    assert records(dataset)[1]['relations'] == [(0, 1, [2, 1, 0]), (1, 0, [1])]
    sample = dataset[1]['data_samples']
    assert sample.relations.tolist() == [[0, 1], [1, 0]]
    assert sample.relation_labels.tolist() == [[True] * 3, [False, True, False]]
    assert dataset.counts['relations'] == 4


def test_counts_of_predicates():
    captions = [[(0, 1, [2], 'a'), (0, 1, [2, 0], 'b'), (1, 0, [2], 'c')], [], [(0, 1, [], 'd')]]
    assert count_predicates(captions, 4) == [1, 0, 2, 0]


@pytest.mark.parametrize('counted', [None, 'boxed', 'visual'])
def test_relations_counted_between_other_phrases(root, monkeypatch, counted):
    content = flickr_relations()
    if counted is not None:
        content['info'] = dict(keep=counted)
    Path(root, 'relations.json').write_text(json.dumps(content))
    warned = []
    monkeypatch.setattr(
        'mmground.datasets.flickr30k_entities.print_log',
        lambda text, logger, level=None: warned.append(text) if level is not None else None,
    )
    relations = dict(relations='relations.json')
    for settings in (dict(), dict(keep='visual'), dict(test_mode=True)):
        load(root, **relations, **settings)
    own = dict(boxed='visual', visual='boxed').get(counted)
    assert len(warned) == (own is not None)
    assert all(f'--keep {own}' in text for text in warned)


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / '1.txt'
    texts = ['[/EN#1/people A man] here', '[/EN#2/other A\x85cap\u2028] on', 'a bird']
    path.write_bytes('\r\n'.join(texts).encode() + b'\r\n\r\n')
    assert [len(caption.phrases) for caption in read_captions(str(path))] == [1, 1, 0]
    path.write_text('')
    assert read_captions(str(path)) == []


def test_without_relations(root):
    record = records(load(root))[0]
    assert record['relations'] == [] and record['num_predicates'] == 0


def test_a_split_of_captions(root):
    Path(root, 'pairs.txt').write_text('1000\t3\n1000\t1\n36979\n')
    assert [record['sample_id'] for record in records(load(root, 'pairs'))] == [
        '1000_3', '1000_1', '36979_0'
    ]  # fmt: skip
    Path(root, 'pairs.txt').write_text('1000\t5\n')
    with pytest.raises(ValueError, match=r'pairs\.txt lists caption 5 of image 1000, but .* has 5'):
        load(root, 'pairs')


def test_the_pipeline(root):
    pipeline = [dict(type='LoadGroundingImage'), dict(type='PackGroundingInputs')]
    dataset = load(root, relations='relations.json', keep='visual', pipeline=pipeline)
    sample = dataset[1]['data_samples']
    assert sample.gt_regions.bboxes.tolist() == [[2, 1, 30, 23]]
    assert sample.links.tolist() == [[0, 0], [2, 0]]
    assert sample.relations.tolist() == [[0, 2], [2, 0]]
    assert sample.relation_labels.tolist() == [[False, True, True], [False] * 3]
    sample = dataset[2]['data_samples']
    assert sample.relations.shape == (0, 2) and sample.relation_labels.shape == (0, 3)


def test_relations_follow_their_text(root):
    Path(root, 'both.txt').write_text('1000\n36979\n')
    control = load(root, 'both', relations='relations.json', control='shuffled_text')
    by_id = {record['sample_id']: record for record in records(control)}
    # It reads a caption of two phrases that are related, but has one phrase itself.
    assert by_id['36979_0']['text_sample_id'].startswith('1000_')
    assert by_id['36979_0']['relations'] == []
    assert by_id['1000_0']['text_sample_id'] == '36979_0'
    assert by_id['1000_0']['relations'] == []


@pytest.mark.parametrize(
    ('line', 'problem'),
    [
        ('A [/EN#1/people man runs .', "'\\[/EN#1/people man runs .' is no phrase"),
        ('A [/EN#1/people man [/EN#2/other hat] ] .', 'is no phrase'),
        ('/EN#1/people man] runs .', 'is no phrase'),
        ('[/EN#1 man] runs .', 'is no phrase'),
        ('[/EN#x/people man] runs .', 'is no phrase'),
        ('[/EN#1/people ] runs .', 'has no words'),
    ],
)
def test_malformed_markup(root, line, problem):
    path = Path(root, 'Sentences/1000.txt')
    path.write_text(f'A man .\n{line}\n')
    with pytest.raises(ValueError, match=rf'1000\.txt: line 2 is malformed \(.*{problem}'):
        read_captions(str(path))


def test_markup():
    caption = parse_caption('"  [/EN#1/vehicles/scene the subway ] [ok] [/EN#2/other it]\'s .\n')
    assert caption.text == '" the subway [ok] it \'s .'
    assert [(p.text, p.span, p.types) for p in caption.phrases] == [
        ('the subway', (2, 12), ('vehicles', 'scene')),
        ('it', (18, 20), ('other',)),
    ]


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ('<annotation><size>', 'is not valid XML'),
        ('', 'is not valid XML'),
        ('<annotation/>', 'the image is malformed .*no size/height'),
        (flickr_xml('1000', height='x'), r"size/height is 'x'"),
        (flickr_xml('1000', objects=[flickr_box([], 1, 1, 2, 2)]), 'object 0 .*no name'),
        (flickr_xml('1000', objects=[flickr_box(['1'], 1, 0)] * 2)
         .replace('<scene>1</scene>', '<scene>0</scene>'), 'object 0 .*neither a box nor'),
        (flickr_xml('1000', objects=[flickr_box(['1'], 1, 1, 2.5, 2)]), 'no whole number'),
        (flickr_xml('1000', objects=[flickr_box(['1'], 1, 1, 2, 2)]).replace('<ymin>1</ymin>', ''),
         'object 0 is malformed .*no bndbox/ymin'),
    ],
)  # fmt: skip
def test_malformed_boxes(root, content, problem):
    path = Path(root, 'Annotations/1000.xml')
    path.write_text(content)
    with pytest.raises(ValueError, match=rf'1000\.xml: .*{problem}'):
        read_boxes(str(path))


def test_missing_files(root):
    with pytest.raises(FileNotFoundError, match=r'none\.txt: the list of images does not exist'):
        load(root, 'none')
    Path(root, 'none.txt').write_text('1234\n')
    with pytest.raises(FileNotFoundError, match=r'Sentences/1234\.txt: the file of sentences'):
        load(root, 'none')
    Path(root, 'Annotations/1000.xml').unlink()
    with pytest.raises(FileNotFoundError, match=r'Annotations/1000\.xml: the file of boxes'):
        load(root)
    with pytest.raises(FileNotFoundError, match=r'rel\.json: the relations do not exist'):
        load(root, 'val', relations='rel.json')
    Path(root, 'Sentences/36979.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'36979\.txt: the file of sentences is no text'):
        load(root, 'val')


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('1 2 3\n', 'line 1 is'),
        ('1\n1 x\n', "line 2 is '1 x'"),
        ('7\n\n7\n', 'line 3 repeats line 1'),
    ],
)
def test_malformed_split(tmp_path, text, problem):
    path = tmp_path / 'train.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'train\.txt: {problem}'):
        read_split(str(path))


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda c: c['relations'].pop('1000'), 'no relations of caption 0 of image 1000'),
        (lambda c: c['relations']['1000'].pop(), 'no relations of caption 4 of image 1000'),
        (
            lambda c: c['relations']['1000'][0].append([0, 4, [], '']),
            r'relation \[0, 4, \[\], \'\'\]',
        ),
        (lambda c: c['relations']['1000'][0].append([1, 1, [], '']), 'is malformed'),
        (lambda c: c['relations']['1000'][0].append([1, 0, [3], '']), 'is malformed'),
        (lambda c: c['relations']['1000'][0].append([1, 0]), 'is malformed'),
        (lambda c: c['counts'].pop(), '3 predicates and 2 counts'),
        (lambda c: c.pop('predicates'), 'expected an object with'),
        (lambda c: c.update(info=[]), 'info is not an object'),
    ],
)
def test_malformed_relations(root, change, problem):
    content = flickr_relations()
    change(content)
    Path(root, 'relations.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'relations\.json: .*{problem}'):
        load(root, relations='relations.json')


def test_wrong_arguments(root):
    with pytest.raises(ValueError, match='keep must be one of'):
        load(root, keep='some')
    with pytest.raises(ValueError, match='boxes must be one of'):
        load(root, boxes='any')
