"""Write the relations between the phrases of captions, which Flickr30kEntitiesDataset reads.

Captions are parsed by spaCy (``pip install 'mmground[nlp]'``). Relations that occur often in the
training captions are categories.

Example::

    python tools/dataset_converters/parse_relations.py data/flickr30k
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.utils import track_iter_progress

from mmground.datasets import relation_parsing
from mmground.datasets.flickr30k_files import MarkedCaption, read_captions, read_split
from mmground.datasets.relation_file import RelationFile
from mmground.datasets.relation_parsing import Found, choose_predicates


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', help='folder with Sentences and the lists of the splits')
    parser.add_argument('--out', help='file to write (relations.json in the folder)')
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val', 'test'],
        help='lists of images without .txt; relations are counted in the first (%(default)s)',
    )
    parser.add_argument('--model', default='en_core_web_sm', help="spaCy's model (%(default)s)")
    parser.add_argument(
        '--min-count',
        type=int,
        default=100,
        help='a category occurs more often than this; the default is that of ReIR (%(default)s)',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> RelationFile:
    """Parse, write the file, print the categories.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Returns:
        What was written.

    Raises:
        SystemExit: If spaCy or its model is missing; status 2.
        FileNotFoundError: If a file of the data set does not exist.
        ValueError: If one is malformed.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        parse = relation_parsing.spacy_parser(args.model)
    except (ImportError, OSError) as error:
        parser.error(str(error))
    root = Path(args.root)
    splits = {
        split: list(dict.fromkeys(name for name, _ in read_split(str(root / f'{split}.txt'))))
        for split in args.splits
    }
    names = list(dict.fromkeys(name for own in splits.values() for name in own))
    captions = [
        (name, caption)
        for name in names
        for caption in read_captions(str(root / 'Sentences' / f'{name}.txt'))
    ]
    trees = parse(caption.text.split(' ') for _, caption in captions)
    found: dict[str, list[list[Found]]] = {name: [] for name in names}
    for (name, caption), tree in zip(
        captions, track_iter_progress((trees, len(captions))), strict=True
    ):
        found[name].append(relation_parsing.find_relations(tree, _token_spans(caption)))
    training = set(splits[args.splits[0]])
    predicates = choose_predicates(
        (words for name in training for relations in found[name] for _, _, words in relations),
        args.min_count,
    )
    file = RelationFile(
        predicates=predicates.names,
        counts=predicates.counts,
        relations={
            name: [
                [[subject, object_, predicates.of(words), words] for subject, object_, words in own]
                for own in relations
            ]
            for name, relations in found.items()
        },
        info=dict(parser=f'spaCy {args.model}', min_count=args.min_count, counted=args.splits[0]),
    )
    out = args.out or str(root / 'relations.json')
    file.save(out)
    _report(file, out)
    return file


def _token_spans(caption: MarkedCaption) -> list[tuple[int, int]]:
    return relation_parsing.token_spans(caption.text, [phrase.span for phrase in caption.phrases])


def _report(file: RelationFile, out: str) -> None:
    every = [
        relation
        for captions in file.relations.values()
        for relations in captions
        for relation in relations
    ]
    named = sum(bool(relation[2]) for relation in every)
    print(f'\n{out}: {len(every)} relations, {named} of {len(file.predicates)} categories')
    for name, count in zip(file.predicates, file.counts, strict=True):
        print(f'{count:>8} {name}')
    if not file.predicates:
        print('no relation is frequent enough: lower --min-count')


if __name__ == '__main__':
    main()
