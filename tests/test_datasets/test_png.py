import json
import re
from pathlib import Path

import pytest
from data_factory import PNG_CATEGORIES, png_narratives, write_png_dataset, write_vocab
from mmengine.dataset import DefaultSampler, pseudo_collate
from torch.utils.data import DataLoader

from mmground.datasets import PNGDataset
from mmground.registry import DATASETS
from mmground.utils.setup_env import register_all_modules

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(
        type='Resize',
        scale=(133, 80),
        keep_ratio=True,
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


@pytest.fixture
def files(tmp_path):
    return write_png_dataset(tmp_path)


def edit(files: dict, key: str, change) -> Path:
    """Change the content of one of the annotation files."""
    path = Path(files['data_root']) / files[key]
    content = json.loads(path.read_text())
    replaced = change(content)
    path.write_text(json.dumps(content if replaced is None else replaced))
    return path


def texts(record: dict) -> list[str]:
    return [phrase['text'] for phrase in record['phrases']]


def test_records(files):
    dataset = PNGDataset(**files)
    assert [dataset[i]['sample_id'] for i in range(len(dataset))] == [
        '139_0', '285_1', '139_2', '632_4', '285_5', '139_6'
    ]  # fmt: skip
    record = dataset[0]
    root = files['data_root']
    assert record['img_path'] == f'{root}/images/val2017/000000000139.png'
    assert (
        record['seg_map_path']
        == f'{root}/annotations/panoptic_segmentation/val2017/000000000139.png'
    )
    assert record['img_id'] == '139'
    assert (record['height'], record['width']) == (24, 32)
    assert record['text'] == png_narratives()[0]['caption']
    assert record['phrases'] == [
        dict(text='Man', span=(20, 23), type='thing', phrase_id='3'),
        dict(text='two Dogs', span=(30, 38), type='thing', phrase_id='5'),
        dict(text='green grass', span=(42, 53), type='stuff', phrase_id='7'),
    ]
    assert record['regions'] == [
        dict(segment_id=70000, category_id=1, is_thing=True, bbox=(2, 2, 10, 10), area=64),
        dict(segment_id=9474192, category_id=2, is_thing=True, bbox=(2, 12, 9, 20), area=56),
        dict(segment_id=131843, category_id=2, is_thing=True, bbox=(12, 12, 20, 20), area=64),
        dict(
            segment_id=12345678,
            category_id=3,
            is_thing=False,
            bbox=(0, 11, 32, 24),
            area=32 * 13 - 56 - 64,
        ),
    ]
    assert record['links'] == [(0, 0), (1, 1), (1, 2), (2, 3)]
    assert dataset.metainfo['categories'] == PNG_CATEGORIES
    assert dataset.counts == dict(
        narratives=7,
        mismatched_narratives=0,
        ungrounded_narratives=1,
        samples=6,
        phrases=10,
        unlocated_phrases=0,
        repeated_segments=0,
    )


def test_adjacent_and_unicode_phrases_and_a_word_too_many(files):
    dataset = PNGDataset(**files)
    assert texts(dataset[1]) == ['CAFÉ Cat', 'tree']
    assert texts(dataset[4]) == ['The cat', 'the tree']
    # "it" has a segment but is no noun.
    assert texts(dataset[5]) == ['grass']


def test_narrative_without_grounded_phrase_is_counted(files):
    dataset = PNGDataset(**files)
    assert dataset.counts['ungrounded_narratives'] == 1
    assert '632_3' not in {dataset[i]['sample_id'] for i in range(len(dataset))}


def test_counts_are_logged(files, monkeypatch):
    lines = []
    monkeypatch.setattr('mmground.datasets.png.print_log', lambda text, logger: lines.append(text))

    def spoil(narratives):
        narratives[2]['segments'][0]['utterance'] = 'three cats'
        narratives[0]['segments'][7]['segment_ids'] *= 2

    path = edit(files, 'ann_file', spoil)
    dataset = PNGDataset(**files)
    assert dataset.counts['unlocated_phrases'] == 1
    assert dataset.counts['repeated_segments'] == 1
    assert len(dataset) == dataset.counts['samples'] == 5
    assert dataset[0]['links'] == [(0, 0), (1, 1), (1, 2), (2, 3)]
    assert lines == [
        f'{path}: 5 of 7 narratives kept, with 9 grounded phrases; 2 narratives have no '
        'grounded phrase; 1 grounded phrases left out: not found in their caption; 1 segments '
        'that a phrase names twice count once'
    ]


def test_last_segment_decides_the_type(files):
    def mix(narratives):
        narratives[0]['segments'][5]['segment_ids'] = ['70000', '12345678', '70000']
        narratives[0]['segments'][3]['segment_ids'] = ['70000', '12345678']

    edit(files, 'ann_file', mix)
    record = PNGDataset(**files)[0]
    assert [phrase['type'] for phrase in record['phrases']] == ['stuff', 'thing', 'stuff']
    for phrase, info in enumerate(record['phrases']):
        last = [region for linked, region in record['links'] if linked == phrase][-1]
        assert record['regions'][last]['is_thing'] == (info['type'] == 'thing')


def test_base_dataset_options(files):
    whole = PNGDataset(**files, serialize_data=False)
    assert whole[0] == PNGDataset(**files)[0]
    part = PNGDataset(**files, indices=[3, 1])
    assert [part[i]['sample_id'] for i in range(2)] == ['632_4', '285_1']
    lazy = PNGDataset(**files, lazy_init=True)
    assert lazy.counts == {}
    assert len(lazy) == 6
    kept = PNGDataset(**files, filter_cfg=dict(img_ids=[285, '632']))
    assert [kept[i]['sample_id'] for i in range(3)] == ['285_1', '632_4', '285_5']


def naive_legacy(narrative: dict, vocab: set[str]) -> list[tuple[str, str]] | None:
    """The official rule, on its own: pieces by longest match, phrases as runs of ids."""

    def pieces(text):
        plain = text.lower().translate(str.maketrans('üé', 'ue'))
        found = []
        for word in re.findall(r'\w+|[^\w\s]', plain):
            start, split = 0, []
            while start < len(word):
                for end in range(len(word), start, -1):
                    piece = ('##' if start else '') + word[start:end]
                    if piece in vocab:
                        break
                else:
                    split = ['[UNK]']
                    break
                split.append(piece)
                start = end
            found += split
        return found

    labels = []
    for number, utterance in enumerate(narrative['segments']):
        text = utterance['utterance'].strip()
        if "n't" in text:
            at = text.index("n't")
            found = [*pieces(text[:at]), "'", 't', *pieces(text[at + 3 :])]
        else:
            found = pieces(text)
        grounded = utterance['noun'] and len(utterance['segment_ids']) > 0
        labels += [number if grounded else None] * len(found)
    caption = pieces(narrative['caption'])
    if len(caption) != len(labels):
        return None
    phrases = {}
    for piece, label in zip(caption, labels, strict=True):
        if label is not None:
            phrases.setdefault(label, []).append(piece)
    return [(str(label), ' '.join(run)) for label, run in phrases.items()]


def test_legacy_alignment_against_naive_rule(files, tmp_path):
    vocab_file = write_vocab(tmp_path / 'vocab.txt')
    vocab = set(Path(vocab_file).read_text(encoding='utf-8').split())

    def add(narratives):
        more = png_narratives()
        # Another text of as many pieces: only the numbers are compared.
        more[2]['segments'][0]['utterance'] = 'green car wall'
        # The first n't counts, and it needs no word before it.
        more[0]['segments'][8]['utterance'] = ". they do n't see"
        # A second n't is left to the tokenizer, where "don" is a piece of its own.
        more[4]['caption'] = "A wall don't don't."
        more[4]['segments'][1]['utterance'] = "DON'T don't."
        # One piece too few.
        more[6]['segments'][3]['utterance'] = ''
        narratives += more
        narratives.append(
            dict(
                image_id='139',
                caption='Walks man.',
                segments=[
                    dict(utterance='walk', segment_ids=['70000'], noun=True),
                    dict(utterance='man man', segment_ids=['131843'], noun=True),
                    dict(utterance='.', segment_ids=[], noun=False),
                ],
            )
        )

    path = edit(files, 'ann_file', add)
    dataset = PNGDataset(**files, legacy_alignment=True, vocab_file=vocab_file)
    records = {dataset[i]['sample_id']: dataset[i] for i in range(len(dataset))}
    expected, mismatched, ungrounded = {}, 0, 0
    for index, narrative in enumerate(json.loads(path.read_text())):
        phrases = naive_legacy(narrative, vocab)
        if phrases is None:
            mismatched += 1
        elif not phrases:
            ungrounded += 1
        else:
            expected[f'{narrative["image_id"]}_{index}'] = phrases
    assert (mismatched, ungrounded) == (3, 2)
    assert dataset.counts['mismatched_narratives'] == mismatched
    assert dataset.counts['ungrounded_narratives'] == ungrounded
    assert dataset.counts['narratives'] == 15
    assert len(expected) == 10
    assert list(records) == list(expected)

    tokens = Tokens(vocab_file)
    for sample_id, record in records.items():
        found = [
            (phrase['phrase_id'], tokens.covered(record['text'], phrase['span']))
            for phrase in record['phrases']
        ]
        assert found == expected[sample_id], sample_id
    # A phrase may be a part of a word: the official code counts pieces, not words.
    assert texts(records['139_14']) == ['Walk', 's man']


class Tokens:
    """Which pieces of a caption a character range covers."""

    def __init__(self, vocab_file):
        from tokenizers import BertWordPieceTokenizer

        self.tokenizer = BertWordPieceTokenizer(vocab_file, lowercase=True)

    def covered(self, text, span):
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return ' '.join(
            piece
            for piece, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
            if span[0] <= start and end <= span[1]
        )


def test_legacy_counts_are_logged(files, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('mmground.datasets.png.print_log', lambda text, logger: lines.append(text))
    PNGDataset(**files, legacy_alignment=True, vocab_file=write_vocab(tmp_path / 'vocab.txt'))
    assert '5 of 7 narratives kept' in lines[0]
    assert '1 narratives discarded by legacy_alignment' in lines[0]


@pytest.mark.parametrize(
    'options',
    [dict(legacy_alignment=True), dict(vocab_file='vocab.txt'), dict(data_prefix=dict())],
)
def test_arguments(files, options):
    with pytest.raises(ValueError, match=r'vocab_file|data_prefix'):
        PNGDataset(**{**files, **options})


def test_vocabulary_errors(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.txt: the WordPiece vocabulary'):
        PNGDataset(**files, legacy_alignment=True, vocab_file=str(tmp_path / 'none.txt'))
    (tmp_path / 'words.txt').write_text('a\nb\n')
    with pytest.raises(ValueError, match=r'words\.txt: not a WordPiece vocabulary'):
        PNGDataset(**files, legacy_alignment=True, vocab_file=str(tmp_path / 'words.txt'))


@pytest.mark.parametrize('key', ['ann_file', 'panoptic_ann_file'])
def test_unreadable_annotation_files(files, key):
    path = Path(files['data_root']) / files[key]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f'{path.name}: .* not valid JSON .* download it again'):
        PNGDataset(**files)
    path.write_bytes(b'\xff\xfe\x00\xd8')
    with pytest.raises(ValueError, match=f'{path.name}: .* not valid JSON'):
        PNGDataset(**files)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f'{path.name}: .* does not exist'):
        PNGDataset(**files)


def cut(keys):
    """Delete what a chain of keys leads to."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def put(keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda _: {'a': 1}, 'expected the list of narratives .* got a dict'),
        (lambda _: [], 'no sample is left'),
        (put([1], 'text'), 'narrative 1 is malformed'),
        (cut([1, 'image_id']), "narrative 1 is malformed .there is no 'image_id'"),
        (put([1, 'image_id'], 'cat'), 'narrative 1 is malformed .*cat'),
        (cut([1, 'caption']), "narrative 1 is malformed .there is no 'caption'"),
        (put([1, 'caption'], 3), 'narrative 1 is malformed'),
        (cut([1, 'segments']), "narrative 1 is malformed .there is no 'segments'"),
        (put([1, 'segments'], None), 'narrative 1 is malformed'),
        (cut([1, 'segments', 2, 'noun']), "narrative 1 is malformed .there is no 'noun'"),
        (cut([1, 'segments', 2, 'segment_ids']), "there is no 'segment_ids'"),
        (put([1, 'segments', 2, 'utterance'], None), 'narrative 1 is malformed'),
        (put([1, 'segments', 2, 'segment_ids'], 7), 'narrative 1 is malformed'),
        (put([1, 'segments', 2, 'segment_ids'], ['x']), "narrative 1 .*'tree' to segment 'x'"),
        (
            put([1, 'segments', 2, 'segment_ids'], ['70000']),
            r"narrative 1 \(image 285\) links 'tree' to segment '70000', .*panoptic_val2017",
        ),
        (put([1, 'image_id'], '7'), 'no annotation of image 7, which narrative 1 of'),
    ],
)
def test_malformed_narratives(files, change, message):
    edit(files, 'ann_file', change)
    with pytest.raises(ValueError, match=message) as caught:
        PNGDataset(**files)
    assert 'png_coco_val2017.json' in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda _: [], "expected a COCO panoptic file, but there is no list 'images'"),
        (cut(['annotations']), "there is no list 'annotations'"),
        (put(['categories'], {}), "there is no list 'categories'"),
        (cut(['categories', 0, 'isthing']), "category 0 is malformed .there is no 'isthing'"),
        (cut(['images', 1, 'id']), "image 1 is malformed .there is no 'id'"),
        (cut(['images', 1, 'height']), "image 1 is malformed .there is no 'height'"),
        (put(['images', 1], None), 'image 1 is malformed'),
        (cut(['images', 1]), 'no annotation of image 285'),
        (cut(['annotations', 1]), 'no annotation of image 285'),
        (cut(['annotations', 1, 'file_name']), 'annotation 1 is malformed'),
        (cut(['annotations', 1, 'segments_info']), 'annotation 1 is malformed'),
        (cut(['annotations', 1, 'segments_info', 0, 'bbox']), "there is no 'bbox'"),
        (put(['annotations', 1, 'segments_info', 0, 'bbox'], [1]), 'annotation 1 is malformed'),
        (put(['annotations', 1, 'segments_info', 0, 'category_id'], 9), 'category 9 is not'),
    ],
)
def test_malformed_panoptic_file(files, change, message):
    edit(files, 'panoptic_ann_file', change)
    with pytest.raises(ValueError, match=message) as caught:
        PNGDataset(**files)
    assert 'panoptic_val2017.json' in str(caught.value)


def test_degenerate_box(files):
    edit(
        files,
        'panoptic_ann_file',
        put(['annotations', 2, 'segments_info', 0, 'bbox'], [1, 1, 0, 4]),
    )
    with pytest.raises(ValueError, match="sample '632_4': region 0 has the box"):
        PNGDataset(**files)


def test_through_a_data_loader(files):
    register_all_modules()
    config = dict(type='PNGDataset', **files, pipeline=PIPELINE, test_mode=True)
    dataset = DATASETS.build(config)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=1,
        collate_fn=pseudo_collate,
        sampler=DefaultSampler(dataset, shuffle=False),
    )
    batches = list(loader)
    samples = [sample for batch in batches for sample in batch['data_samples']]
    inputs = [image for batch in batches for image in batch['inputs']]
    assert [sample.sample_id for sample in samples] == [
        dataset.get_data_info(i)['sample_id'] for i in range(6)
    ]
    assert inputs[0].shape == (3, 80, 107)
    sample = samples[0]
    assert sample.geometry.ori_shape == sample.ori_shape == (24, 32)
    assert sample.gt_regions.masks.shape == (4, 24, 32)
    assert sample.gt_regions.masks.sum(dim=(1, 2)).tolist() == [64, 56, 64, 296]
    assert sample.links.tolist() == [[0, 0], [1, 1], [1, 2], [2, 3]]
