"""The tool on a small data set in the real layout, as a user runs it."""

from pathlib import Path

import pytest
from data_factory import write_flickr30k_dataset
from mmengine.config import Config
from tool_loader import load_tool


@pytest.fixture(scope='module')
def main():
    return load_tool('dataset_converters/build_vocabulary')


def _config(tmp_path, **decoder):
    root = write_flickr30k_dataset(tmp_path / 'data')
    loaders = {
        f'{name}_dataloader': dict(
            dataset=dict(type='Flickr30kEntitiesDataset', data_root=root, ann_file=f'{split}.txt')
        )
        for name, split in (('train', 'train'), ('val', 'val'), ('test', 'test'))
    }
    model = dict(
        text_encoder=dict(vocab_file=str(tmp_path / 'out' / 'words.txt')),
        head=dict(decoder=decoder),
    )
    path = tmp_path / 'config.py'
    Config(dict(model=model, **loaders)).dump(str(path))
    return str(path)


def test_words_of_texts_and_of_phrases(main, tmp_path):
    phrase_words = tmp_path / 'out' / 'phrase_words.txt'
    main([_config(tmp_path, vocab_file=str(phrase_words))])
    words = Path(tmp_path / 'out' / 'words.txt').read_text().split('\n')
    own = phrase_words.read_text().split('\n')
    assert words[-1] == own[-1] == ''
    assert words[:-1] == sorted(set(words[:-1])) and own[:-1] == sorted(set(own[:-1]))
    assert {'two', 'young', 'guys', 'look', 'yard'} <= set(words)
    assert {'two', 'young', 'guys', 'shaggy', 'hair'} <= set(own)
    # In no phrase, or in none that has a box.
    assert 'look' not in own and set(own) < set(words)


def test_words_of_all_splits(main, tmp_path):
    """Words of val and test alone, too, though the vocabularies are those of the training."""
    every = tmp_path / 'new' / 'all_words.txt'
    main([_config(tmp_path, vocab_file=str(tmp_path / 'phrases.txt')), '--all-words', str(every)])
    training = set((tmp_path / 'out' / 'words.txt').read_text().split())
    words = every.read_text().split('\n')
    assert words[-1] == '' and words[:-1] == sorted(set(words[:-1]))
    # "A dog runs ." is of val and test.
    assert set(words[:-1]) - training == {'dog', 'runs'}
    assert training < set(words)
    phrases = (tmp_path / 'phrases.txt').read_text().split()
    assert 'dog' not in phrases


def test_rare_words_are_left_out_on_demand(main, tmp_path):
    config = _config(tmp_path, vocab_file=str(tmp_path / 'phrases.txt'))
    main([config, '--min-count', '1000'])
    assert (tmp_path / 'out' / 'words.txt').read_text().split() == []


def test_a_model_without_vocabularies(main, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([_config(tmp_path)])
    assert stop.value.code == 2
    assert 'no model.head.decoder.vocab_file' in ' '.join(capsys.readouterr().err.split())
