import base64
import pickle

import numpy as np
import pytest

from mmground.converters.proposals import ImportedProposals

BOXES = np.array([[0, 0, 5, 5], [1, 2, 30.5, 8], [4, 4, 4, 9], [2, 2, 9, 9]], np.float32)
SCORES = np.array([0.25, 0.75, 0.5, 0.9], np.float32)
LABELS = np.array([3, 1, 2, 0])


class MakeFolder:
    """Pickles to a call of ``os.mkdir``, as a malicious file would."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def write_reir(path, **changes):
    rows = np.hstack([BOXES, SCORES[:, None], LABELS[:, None]])
    content = {36979: dict(boxes=rows, img_scale=1.5), **changes}
    path.write_bytes(pickle.dumps(content))
    return str(path)


def encode(array):
    return base64.b64encode(array.tobytes()).decode()


def tsv_line(**changes):
    fields = dict(
        img_id='36979',
        img_h='24',
        img_w='32',
        objects_id=encode(LABELS.astype('<i8')),
        objects_conf=encode(SCORES),
        attrs_id=encode(LABELS),
        attrs_conf=encode(SCORES),
        num_boxes='4',
        boxes=encode(BOXES),
        features=encode(np.zeros((4, 2048 * 30), np.float32)),
    )
    return '\t'.join({**fields, **changes}.values()) + '\n'


def assert_tidy(found, first_label):
    """By score; without the box that has no area, and the background if there is any."""
    order = [3, 1, 0] if first_label == 0 else [1, 0]
    np.testing.assert_array_equal(found['boxes'], BOXES[order])
    np.testing.assert_array_equal(found['scores'], SCORES[order])
    np.testing.assert_array_equal(found['labels'], LABELS[order] - first_label)
    assert found['labels'].dtype == np.int64 and found['boxes'].dtype == np.float32


def test_the_pickle_of_the_official_code(tmp_path):
    source = ImportedProposals(write_reir(tmp_path / 'precomp_annos.pkl'), 'reir')
    ((img_id, found),) = source
    assert img_id == '36979' and source.order == 'source'
    # In the order of the file, whatever the scores; two are left out.
    for key, expected in dict(boxes=BOXES, scores=SCORES, labels=LABELS - 1).items():
        np.testing.assert_array_equal(found[key], expected[:2])
    assert source.left_out == {'background': 1, 'without area': 1}
    # None moves up for what is left out of the first rows.
    for num, labels in ((1, [2]), (3, [2, 0])):
        ((_, found),) = ImportedProposals(source.path, 'reir', num=num)
        assert found['labels'].tolist() == labels


def test_a_pickle_with_code_is_refused(tmp_path):
    path = write_reir(tmp_path / 'evil.pkl', code=MakeFolder(tmp_path / 'made'))
    with pytest.raises(ValueError, match=r'evil\.pkl holds objects other than'):
        list(ImportedProposals(path, 'reir'))
    np.savez(tmp_path / '1.npz', bbox=BOXES, info=np.array(MakeFolder(tmp_path / 'made')))
    with pytest.raises(ValueError, match=r'1\.npz cannot be read.*mkdir'):
        list(ImportedProposals(str(tmp_path), 'npz', first_label=0))
    assert not (tmp_path / 'made').exists()


def test_tables(tmp_path):
    path = tmp_path / 'train.tsv'
    path.write_text(tsv_line() + tsv_line(img_id='12'))
    source = ImportedProposals(str(path), 'tsv')
    assert source.order == 'score'
    (first, found), (second, _) = source
    assert (first, second) == ('36979', '12')
    assert_tidy(found, 0)
    assert source.left_out == {'background': 0, 'without area': 2}
    # Of what is left, the best.
    (_, found), _ = ImportedProposals(str(path), 'tsv', num=2)
    np.testing.assert_array_equal(found['boxes'], BOXES[[3, 1]])


def test_archives(tmp_path):
    info = dict(image_id='36979', objects_id=LABELS, objects_conf=SCORES, image_h=24)
    np.savez_compressed(
        tmp_path / '36979.npz', x=np.zeros((4, 8)), bbox=BOXES, num_bbox=4, info=info
    )
    np.savez(tmp_path / '7.npz', bbox=BOXES, objects_id=LABELS, objects_conf=SCORES)
    (first, found), (second, other) = ImportedProposals(str(tmp_path), 'npz', first_label=1)
    assert (first, second) == ('36979', '7')
    assert_tidy(found, 1)
    assert_tidy(other, 1)
    for _, found in ImportedProposals(str(tmp_path), 'npz', first_label=0):
        assert_tidy(found, 0)


def test_archives_do_not_tell_their_first_category(tmp_path):
    with pytest.raises(ValueError, match=r'npz files number .* give first_label'):
        ImportedProposals(str(tmp_path), 'npz')


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        (dict(x=dict(img_scale=1)), "entry of image 'x' has no boxes of six numbers"),
        (dict(x=dict(boxes=BOXES)), 'six numbers'),
        (dict(x=3), 'six numbers'),
        (dict(x=dict(boxes=np.full((1, 6), 1.5))), "image 'x' are malformed .*no whole number"),
    ],
)
def test_malformed_pickles(tmp_path, changes, problem):
    with pytest.raises(ValueError, match=problem):
        list(ImportedProposals(write_reir(tmp_path / 'p.pkl', **changes), 'reir'))


@pytest.mark.parametrize(
    ('line', 'problem'),
    [
        ('1\t2\t3\t4\t5\t6\n', 'no categories of the boxes'),
        ('1\t2\n', 'line 2 has 2 fields, not 10'),
        (tsv_line(boxes='%%%'), 'line 2 is malformed'),
        (tsv_line(num_boxes='3'), 'line 2 is malformed'),
        (tsv_line(objects_id=encode(LABELS[:2])), "image '36979' are malformed .*shapes"),
    ],
)
def test_malformed_tables(tmp_path, line, problem):
    path = tmp_path / 'p.tsv'
    path.write_text(tsv_line(img_id='1') + line)
    with pytest.raises(ValueError, match=rf'p\.tsv: .*{problem}'):
        list(ImportedProposals(str(path), 'tsv'))


def test_other_files(tmp_path):
    with pytest.raises(ValueError, match='kind must be one of'):
        ImportedProposals('x', 'csv')
    for kind in ('reir', 'tsv', 'npz'):
        with pytest.raises(FileNotFoundError):
            list(ImportedProposals(str(tmp_path / 'none'), kind, first_label=0))
    (tmp_path / 'list.pkl').write_bytes(pickle.dumps([]))
    with pytest.raises(ValueError, match='expected a dict of images, got a list'):
        list(ImportedProposals(str(tmp_path / 'list.pkl'), 'reir'))
    (tmp_path / '1.npz').write_bytes(b'no archive')
    with pytest.raises(ValueError, match=r'1\.npz cannot be read'):
        list(ImportedProposals(str(tmp_path), 'npz', first_label=0))
    np.savez(tmp_path / '1.npz', bbox=BOXES)
    with pytest.raises(ValueError, match='extract boxes with their categories'):
        list(ImportedProposals(str(tmp_path), 'npz', first_label=0))
