import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmground.datasets.grounding_shapes import generation
from mmground.datasets.grounding_shapes.generation import (
    FORMATS,
    generate,
    image_splits,
    make_shapes_image,
)
from mmground.datasets.grounding_shapes.vocab import wordpiece_vocabulary

COUNTS = dict(train=3, val=2)

FOREIGN = '{"generator": "Another", "version": "1.2", "arguments": {}, "summary": {}}'


def tree(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def test_same_files_for_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, '_BATCH', 2)
    counts = dict(train=5, val=2)
    generate(tmp_path / 'one', ['png'], counts, size=64, workers=1)
    generate(tmp_path / 'two', ['png'], counts, size=64, workers=2)
    generate(tmp_path / 'seed', ['png'], counts, size=64, seed=1)
    one, two, seed = (tree(tmp_path / name) for name in ('one', 'two', 'seed'))
    assert one == two and len(one) == 2 * 7 + 4 + 2
    assert set(one) == set(seed)
    assert all(one[name] != seed[name] for name in one if name.endswith(('jpg', 'png')))


def test_an_image_does_not_depend_on_the_number_of_images(tmp_path):
    generate(tmp_path / 'few', ['png'], dict(train=1, val=1), size=64)
    generate(tmp_path / 'more', ['png'], dict(train=2, val=1), size=64)
    few, more = tree(tmp_path / 'few'), tree(tmp_path / 'more')
    same = [name for name in few if name.endswith(('.jpg', '.png'))]
    assert len(same) == 4 and all(few[name] == more[name] for name in same)


def test_formats_do_not_change_each_other(tmp_path, monkeypatch):
    """Nor do their files depend on the processes."""
    monkeypatch.setattr(generation, '_BATCH', 2)
    counts = dict(train=5, val=2, test=2)
    generate(tmp_path / 'all', list(FORMATS), counts, size=64, workers=2)
    together = tree(tmp_path / 'all')
    for name, fmt in FORMATS.items():
        own = {split: counts[split] for split in fmt.splits}
        generate(tmp_path / name, [name], own, size=64)
        alone = tree(tmp_path / name)
        del alone['shapes.json']
        assert alone.items() <= together.items()


def test_png_data_are_those_of_the_first_version(tmp_path):
    generate(tmp_path / 'data', ['png'], dict(train=12, val=5), size=96, seed=4)
    texts = (tmp_path / 'data/annotations/png_coco_train2017.json').read_bytes()
    digest = hashlib.sha256(texts).hexdigest()
    assert digest == 'e59d3b352ccaf17d86bf77ec811eeaff2292ee20541fa23ad5af5c7201ffb21b'


def test_image_splits():
    assert image_splits(['png']) == image_splits(['coco', 'png']) == ['train', 'val']
    assert image_splits(['png', 'refcoco+']) == ['train', 'val', 'test']


def test_size_scales_the_scene():
    small = make_shapes_image(0, 'train', 0, 64).rendering.regions
    large = make_shapes_image(0, 'train', 0, 256).rendering.regions
    assert (large[2::4, 2::4] == small).mean() > 0.97


def test_pictures_on_disk_agree_with_masks(tmp_path):
    """JPEG keeps each thing's colour up to its edge."""
    generate(tmp_path / 'data', ['png'], COUNTS, size=128)
    for index in range(COUNTS['train']):
        image = make_shapes_image(0, 'train', index, 128)
        path = tmp_path / 'data' / 'images' / 'train2017' / f'{image.image_id:012d}.jpg'
        stored = np.asarray(Image.open(path)).astype(int)
        error = np.abs(stored - image.rendering.image).mean(axis=-1)
        regions = image.rendering.regions
        edge = np.zeros_like(regions, dtype=bool)
        edge[:, 1:] |= regions[:, 1:] != regions[:, :-1]
        edge[1:] |= regions[1:] != regions[:-1]
        assert error.mean() < 5 and error[edge].mean() < 8


def test_description_and_vocabulary(tmp_path):
    description, made = generate(tmp_path / 'data', ['png', 'png'], COUNTS, size=64, seed=2)
    assert made and json.loads((tmp_path / 'data' / 'shapes.json').read_text()) == description
    assert description['arguments'] == dict(formats=['png'], counts=COUNTS, size=64, seed=2)
    assert description['version'] == generation.GENERATOR_VERSION
    lines = (tmp_path / 'data' / 'vocab.txt').read_text().splitlines()
    assert lines == wordpiece_vocabulary()
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_complete_data_is_kept_and_other_data_is_refused(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    first, _ = generate(root, ['png'], COUNTS, size=64)
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    again, made = generate(root, ['png'], COUNTS, size=64)
    assert not made and again == first
    for change, message in (
        (dict(seed=1), 'pictures: seed 0, not 1. A folder holds one'),
        (dict(size=96), 'pictures: size 64, not 96. '),
        (dict(counts=dict(train=4, val=2)), 'pictures: number of train images 3, not 4. '),
        (dict(formats=['coco'], seed=2), r'delete everything .*\(png\), proposals and all other'),
    ):
        with pytest.raises(FileExistsError, match=message):
            generate(root, **(dict(formats=['png'], counts=COUNTS, size=64) | change))
    with monkeypatch.context() as patch, pytest.raises(FileExistsError) as caught:
        patch.setattr(generation, 'GENERATOR_VERSION', '99')
        generate(root, ['png', 'coco'], COUNTS, size=64)
    assert f'generator version {first["version"]}, not 99.' in str(caught.value)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    replaced, made = generate(root, ['png'], COUNTS, size=64, seed=1, overwrite=True)
    assert made and replaced['arguments']['seed'] == 1
    assert json.loads((root / 'shapes.json').read_text()) == replaced


ALL_COUNTS = dict(train=5, val=2, test=2)


def make(root, *formats, **counts):
    """Generate with as many images of each split as all tests that compare folders."""
    own = {split: (ALL_COUNTS | counts)[split] for split in image_splits(formats)}
    return generate(root, formats, own, size=64)


def states(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    'steps',
    [
        [['png'], ['refcoco']],
        [['refcoco'], ['png']],
        [['coco'], ['png', 'coco', 'refcocog']],
        [['png'], ['referit'], ['flickr30k', 'png'], ['refcoco', 'refcoco+']],
    ],
)
def test_formats_are_added(tmp_path, steps):
    """The files are those of one call, and what was there is not written again."""
    root = tmp_path / 'data'
    for step in steps:
        before = states(root)
        before.pop(root / 'shapes.json', None)
        description, made = make(root, *step)
        assert json.loads((root / 'shapes.json').read_text()) == json.loads(json.dumps(description))
        assert made and before.items() <= states(root).items()
    together = sorted({name for step in steps for name in step})
    make(tmp_path / 'together', *together)
    assert tree(root) == tree(tmp_path / 'together')
    assert description['arguments']['formats'] == together
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'together']


def test_what_is_made_are_the_missing_formats_and_companions(tmp_path):
    root = tmp_path / 'data'
    assert make(root, 'png')[1] == ['png']
    assert make(root, 'png', 'refcoco')[1] == ['coco', 'refcoco']
    assert make(root, 'refcocog')[1] == ['refcocog']
    with pytest.raises(FileExistsError, match='number of test images 2, not 3'):
        make(root, 'refcoco+', test=3)


def test_formats_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    first, _ = make(root, 'refcoco', 'png')
    before = states(root)
    monkeypatch.setattr(generation, '_write', None)
    for formats in (['png'], ['refcoco'], ['coco'], ['coco', 'png']):
        assert make(root, *formats) == (first, [])
    assert states(root) == before


def test_other_files_in_the_folder_stay_when_a_format_is_added(tmp_path):
    root = tmp_path / 'data'
    make(root, 'png')
    (root / 'proposals.db').write_text('mine')
    make(root, 'flickr30k')
    assert (root / 'proposals.db').read_text() == 'mine'


@pytest.mark.parametrize(
    'name', ['images/val2017/000000000012.jpg', 'vocab.txt', 'refcoco/refs(unc).p']
)
def test_nothing_is_added_to_changed_files(tmp_path, name):
    root = tmp_path / 'data'
    make(root, 'png')
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text('other')
    before = tree(root)
    with pytest.raises(FileExistsError, match='has 1 files with other content') as caught:
        make(root, 'refcoco')
    assert name in str(caught.value)
    assert tree(root) == before and [path.name for path in tmp_path.iterdir()] == ['data']


def test_a_failure_while_a_format_is_added(tmp_path, monkeypatch):
    root = tmp_path / 'data'
    make(root, 'png')
    before = tree(root)
    move, moved = Path.replace, []

    def fail(path, target):
        if len(moved) == 3:
            raise OSError('disk full')
        moved.append(target)
        return move(path, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match='disk full'):
        patch.setattr(Path, 'replace', fail)
        make(root, 'refcoco')
    # The description names no format that is not complete.
    assert before.items() <= tree(root).items()
    assert make(root, 'refcoco')[1] == ['coco', 'refcoco']
    make(tmp_path / 'together', 'png', 'refcoco')
    assert tree(root) == tree(tmp_path / 'together')


def test_leftovers_of_a_killed_addition(tmp_path):
    """The remedy is not one that deletes the formats that are there."""
    make(tmp_path / 'data', 'png')
    (tmp_path / 'data.partial').mkdir()
    with pytest.raises(FileExistsError, match='interrupted') as caught:
        make(tmp_path / 'data', 'coco')
    assert '--overwrite' not in str(caught.value)
    assert make(tmp_path / 'data', 'png')[1] == []
    (tmp_path / 'data.partial').rmdir()
    assert make(tmp_path / 'data', 'coco')[1] == ['coco']


@pytest.mark.parametrize('content', [None, '{"half', '{}', '[]', FOREIGN])
def test_a_foreign_folder_is_never_touched(tmp_path, content):
    root = tmp_path / 'photos'
    root.mkdir()
    (root / 'mine.jpg').write_text('x')
    if content is not None:
        (root / 'shapes.json').write_text(content)
    before = tree(root)
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match='left alone'):
            generate(root, ['png'], COUNTS, size=64, overwrite=overwrite)
    assert tree(root) == before


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / 'data').mkdir()
    assert generate(tmp_path / 'data', ['png'], COUNTS, size=64)[1]


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError('disk on fire')

    with monkeypatch.context() as patch:
        patch.setattr(generation, 'render', fail)
        with pytest.raises(RuntimeError, match='disk on fire'):
            generate(tmp_path / 'data', ['png'], COUNTS, size=64)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run(tmp_path):
    (tmp_path / 'data.partial').mkdir()
    with pytest.raises(FileExistsError, match='interrupted'):
        generate(tmp_path / 'data', ['png'], COUNTS, size=64)
    generate(tmp_path / 'data', ['png'], COUNTS, size=64, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_repeated_images_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        generation, 'image_rng', lambda *arguments: np.random.default_rng(0), raising=True
    )
    with pytest.raises(RuntimeError, match='not unique'):
        generate(tmp_path / 'data', ['png'], COUNTS, size=64)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(formats=['gif']), 'formats'),
        (dict(formats=[]), 'formats'),
        (dict(counts=dict(train=0, val=1)), 'at least 1 image'),
        (dict(counts=dict(train=1)), 'at least 1 image'),
        (dict(counts=COUNTS | dict(test=1)), 'at least 1 image'),
        (dict(formats=['refcoco']), 'at least 1 image'),
        (dict(size=32), 'size'),
        (dict(seed=-1), 'seed'),
        (dict(workers=0), 'workers'),
    ],
)
def test_bad_arguments(tmp_path, change, message):
    arguments = dict(formats=['png'], counts=COUNTS) | change
    with pytest.raises(ValueError, match=message):
        generate(tmp_path / 'data', **arguments)
    assert list(tmp_path.iterdir()) == []
