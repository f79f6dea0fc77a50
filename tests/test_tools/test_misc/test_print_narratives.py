import json
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def tool():
    import importlib.util

    path = REPO / 'tools' / 'misc' / 'print_narratives.py'
    spec = importlib.util.spec_from_file_location('print_narratives', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segment(utterance, *segment_ids, noun=True):
    return dict(utterance=utterance, noun=noun, segment_ids=list(segment_ids), plural=False)


def test_marks_the_grounded_nouns(tool):
    segments = [
        segment('in this image', noun=False),
        segment('there is', noun=False),
        segment('a  Dog ', '12'),
        segment('.'),
        segment('on', noun=False),
        segment('the left'),
        segment('two dogs', '3', '4'),
    ]
    text = tool.mark_up('In this image there is a dog. On the left two dogs.', segments)
    assert text == 'In this image there is [a dog]. On the left [two dogs].'


def test_escapes_brackets_of_the_caption(tool):
    text = tool.mark_up(r'A [red] \ box', [segment('a [red]', '1')])
    assert text == r'[A \[red\]] \\ box'


def test_utterance_that_is_not_in_the_caption(tool):
    assert tool.mark_up('a cat', [segment('a cat', '1'), segment('a cat', '1')]) is None


def write(root, narratives):
    folder = root / 'annotations'
    folder.mkdir()
    images = [dict(id=image_id, file_name=f'{image_id:012d}.jpg') for image_id in (1, 2, 3)]
    (folder / 'panoptic_val2017.json').write_text(json.dumps(dict(images=images)))
    (folder / 'png_coco_val2017.json').write_text(json.dumps(narratives))


def test_prints_one_line_per_picture(tool, tmp_path, capsys):
    grounded = [segment('a cat', '1')]
    write(
        tmp_path,
        [
            dict(image_id='1', caption='a cat', segments=[segment('a cat')]),
            dict(image_id='1', caption='A cat\nsits', segments=grounded),
            dict(image_id='1', caption='a cat again', segments=grounded),
            dict(image_id='3', caption='see a cat', segments=grounded),
            dict(image_id='2', caption='a cat', segments=grounded),
        ],
    )
    tool.main([str(tmp_path), '--num', '2'])
    folder = tmp_path / 'images' / 'val2017'
    assert capsys.readouterr().out.splitlines() == [
        f'{folder}/000000000001.jpg\t[A cat] sits',
        f'{folder}/000000000003.jpg\tsee [a cat]',
    ]


def test_missing_annotations_are_one_error(tool, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(tmp_path)])
    assert stop.value.code == 2
    assert 'png_coco_val2017.json' in capsys.readouterr().err
