"""Write the words of a data set's texts, and those of its phrases.

``python tools/dataset_converters/build_vocabulary.py CONFIG`` reads the training texts of a config
whose model has a word encoder and a decoder of phrases, and writes the files that
``model.text_encoder.vocab_file`` and ``model.head.decoder.vocab_file`` name. ``--all-words FILE``
also writes the words of all splits, whose vectors convert_word_vectors.py should keep.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmground.models.text_encoders.word_vocabulary import split_words
from mmground.registry import DATASETS
from mmground.utils import register_all_modules
from mmground.utils.cli import add_runner_arguments, load_config

_LOADERS = ('train', 'val', 'test')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(description='Write the vocabularies of a data set.')
    add_runner_arguments(parser)
    parser.add_argument(
        '--loaders',
        nargs='+',
        choices=_LOADERS,
        default=['train'],
        help='whose texts to read (default: train); a word that is in none is read as zeros',
    )
    parser.add_argument(
        '--min-count', type=int, default=1, help='leave out words that are rarer (default: 1)'
    )
    parser.add_argument(
        '--all-words',
        metavar='FILE',
        help='also write every word of the training, val and test texts there, of which '
        'convert_word_vectors.py --keep needs the vectors',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write both vocabularies.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Raises:
        SystemExit: If the command line is wrong or the model has no such vocabularies; status 2.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    cfg = load_config(parser, args)
    register_all_modules()
    outputs = (
        cfg.model.text_encoder.get('vocab_file'),
        (cfg.model.head.get('decoder') or {}).get('vocab_file'),
    )
    if None in outputs:
        parser.error(
            f'{args.config} has no model.text_encoder.vocab_file or no '
            'model.head.decoder.vocab_file, so there is nothing to write'
        )
    counts = (Counter(), Counter())
    every: set[str] = set()
    for name in _LOADERS if args.all_words else args.loaders:
        dataset = DATASETS.build(dict(cfg[f'{name}_dataloader'].dataset, pipeline=[]))
        for index in range(len(dataset)):
            record = dataset.get_data_info(index)
            words = [word for word, _ in split_words(record['text'])]
            every.update(words)
            if name not in args.loaders:
                continue
            counts[0].update(words)
            for phrase in record['phrases']:
                counts[1].update(word for word, _ in split_words(phrase['text']))
    for path, own in zip(outputs, counts, strict=True):
        _write(path, (word for word, count in own.items() if count >= args.min_count))
    if args.all_words:
        _write(args.all_words, every)


def _write(path: str, words: Iterable[str]) -> None:
    words = sorted(words)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('\n'.join(words) + '\n', encoding='utf-8')
    print(f'wrote {len(words)} words: {path}')


if __name__ == '__main__':
    main()
