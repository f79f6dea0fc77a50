import json

import pytest

from mmground.datasets import json_stream
from mmground.datasets.json_stream import iter_json

CONTENT = {
    'info': {'year': 2018, 'empty': []},
    'images': [{'id': 1, 'name': 'ä "]}'}, {'id': 22}, [3], 4.5, 1.5e300, None, -1234567, 'a,b'],
    'empty': [],
    'number': 12345,
    'text': 'x' * 50,
}


@pytest.fixture(params=[1, 2, 7, 1 << 20])
def block(request, monkeypatch):
    """Blocks so small that every kind of value is cut somewhere."""
    monkeypatch.setattr(json_stream, '_BLOCK', request.param)


def expected(content):
    if isinstance(content, list):
        return [(None, entry) for entry in content]
    pairs = []
    for key, value in content.items():
        if isinstance(value, list):
            pairs += [(key, []), *((key, entry) for entry in value)]
        else:
            pairs.append((key, value))
    return pairs


@pytest.mark.parametrize('indent', [None, 3])
@pytest.mark.parametrize('content', [CONTENT, CONTENT['images'], [], {}, [1], {'a': []}])
def test_entries(tmp_path, block, content, indent):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding='utf-8')
    assert list(iter_json(str(path))) == expected(content)


def test_other_values(tmp_path, block):
    path = tmp_path / 'a.json'
    path.write_text(' 123 \n')
    assert list(iter_json(str(path))) == [(None, 123)]
    path.write_bytes(b'\xef\xbb\xbf[1]')  # a byte order mark
    assert list(iter_json(str(path))) == [(None, 1)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'Expecting value, at character 0'),
        ('[1, 2', 'expected , or ], at character 5'),
        ('[1, 2,', 'Expecting value'),
        ('[1 2]', 'expected , or ], at character 3'),
        ('[{"a": 1}, {"b": }]', 'Expecting value, at character 17'),
        ('{"a": [1], "b"', 'expected :'),
        ('{"a": [1] "b": 1}', 'expected , or }'),
        ('{1: 2}', 'a key must be a string'),
        ('{"a": 1}]', 'more after its end, at character 8'),
        ('["abc', 'Unterminated string'),
        ('[tru', 'Expecting value'),
    ],
)
def test_damaged_files(tmp_path, block, text, message):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'a\.json: .* not valid JSON \(.*{message}'):
        list(iter_json(str(path)))


def test_what_comes_before_the_damage_is_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('[1, 2, oops]')
    entries = iter_json(str(path))
    assert [next(entries), next(entries)] == [(None, 1), (None, 2)]


def test_not_text_and_missing(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(b'["\xff\xfe"]')
    with pytest.raises(ValueError, match=r'a\.json: .* not valid JSON'):
        list(iter_json(str(path)))
    with pytest.raises(FileNotFoundError, match=r'b\.json: the annotation file does not exist'):
        list(iter_json(str(tmp_path / 'b.json')))
