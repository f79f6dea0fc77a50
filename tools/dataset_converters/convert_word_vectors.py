"""Write vectors of words that were learned elsewhere into a file for the similarity of names.

Examples::

    python tools/dataset_converters/convert_word_vectors.py skip-thoughts dictionary.txt \\
        utable.npy skip_thoughts.npz --keep data/flickr30k/all_words.txt objects_vocab.txt
    python tools/dataset_converters/convert_word_vectors.py text glove.6B.300d.txt glove.npz

``skip-thoughts`` takes the table of words of uni-skip, which ReIR uses; ``text`` any file with a
word and its numbers a line (GloVe, fastText, word2vec). A word that is not kept has no part in the
similarity, so keep those of all splits of all data sets: ``build_vocabulary.py --all-words``.
"""

import argparse
from collections.abc import Sequence

from mmground.datasets.word_vectors import read_skip_thoughts, read_text_vectors, words_to_keep
from mmground.utils.cli import check_file


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    skip_thoughts = kinds.add_parser('skip-thoughts', help='dictionary.txt and utable.npy')
    skip_thoughts.add_argument('dictionary', help='words, one a line')
    skip_thoughts.add_argument('table', help='their vectors, .npy')
    text = kinds.add_parser('text', help='a word and its numbers a line')
    text.add_argument('vectors', help='the file')
    for own in (skip_thoughts, text):
        own.add_argument('out', help='file to write, .npz')
        own.add_argument(
            '--keep',
            nargs='+',
            metavar='FILE',
            default=[],
            help='files with the words to keep: those of all splits, and names of categories; the '
            'whole table may take gigabytes (default: all words)',
        )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Convert.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Raises:
        SystemExit: If the command line is wrong or a file of words does not exist; status 2.
        FileNotFoundError: If the vectors do not exist.
        ValueError: If they are malformed.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    keep = None
    if args.keep:
        for path in args.keep:
            check_file(parser, path, 'file of words')
        keep = set().union(*(words_to_keep(path) for path in args.keep))
    if args.kind == 'skip-thoughts':
        table = read_skip_thoughts(args.dictionary, args.table, keep)
    else:
        table = read_text_vectors(args.vectors, keep)
    table.save(args.out)
    print(f'{args.out}: {len(table)} words, {table.dim} numbers each')
    if keep is not None:
        words = sorted(keep)
        _, known = table.of(words)
        missing = [word for word, is_known in zip(words, known, strict=True) if not is_known]
        if missing:
            print(f'{len(missing)} words have no vector: {", ".join(missing[:20])}')


if __name__ == '__main__':
    main()
