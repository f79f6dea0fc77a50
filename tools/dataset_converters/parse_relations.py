"""Write the relations between the phrases of captions, which Flickr30kEntitiesDataset reads.

Captions are parsed by spaCy (``pip install 'mmground[nlp]'``). Relations that occur often in the
training captions are categories. Counted are those between phrases that the data set keeps, by
default those with a box; the other relations are written, too, for data sets that keep more.

Examples::

    python tools/dataset_converters/parse_relations.py data/flickr30k
    python tools/dataset_converters/parse_relations.py data/flickr30k --keep all
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.progress import track

from mmground.datasets import relation_parsing
from mmground.datasets.flickr30k_files import (
    FOLDERS,
    KEEP,
    MarkedCaption,
    chosen_captions,
    is_kept,
    numbers_by_image,
    read_boxes,
    read_captions,
    read_split,
)
from mmground.datasets.relation_file import RelationFile, count_predicates
from mmground.datasets.relation_parsing import Found, Predicates, choose_predicates


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', help='folder with Sentences, Annotations and the lists')
    parser.add_argument('--out', help='file to write (relations.json in the folder)')
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val', 'test'],
        help='lists of images without .txt; relations are counted in the first (%(default)s)',
    )
    parser.add_argument(
        '--keep',
        choices=KEEP,
        default='boxed',
        help='count relations between phrases that Flickr30kEntitiesDataset(keep=...) keeps: those '
        'with a box; or without a look at Annotations those that can be seen, or all (%(default)s)',
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
    lists = [str(root / f'{split}.txt') for split in args.splits]
    wanted = [numbers_by_image(read_split(path)) for path in lists]
    captions = {
        name: read_captions(str(root / FOLDERS['sentences'] / f'{name}.txt'))
        for name in dict.fromkeys(name for own in wanted for name in own)
    }
    # Before parsing, which takes long, because a file may be missing.
    kept = {
        (name, number): phrases
        for name, numbers in wanted[0].items()
        for number, phrases in _kept_phrases(
            root,
            name,
            captions[name],
            chosen_captions(numbers, captions[name], name, lists[0]),
            args.keep,
        )
    }
    each = [(name, caption) for name, own in captions.items() for caption in own]
    trees = parse(caption.text.split(' ') for _, caption in each)
    found: dict[str, list[list[Found]]] = {name: [] for name in captions}
    trees = track(trees, description='Parsing', total=len(each))
    for (name, caption), tree in zip(each, trees, strict=True):
        found[name].append(relation_parsing.find_relations(tree, _token_spans(caption)))
    counted = [
        [relation for relation in found[name][number] if phrases.issuperset(relation[:2])]
        for (name, number), phrases in kept.items()
    ]
    predicates = choose_predicates(
        (words for own in counted for _, _, words in own), args.min_count
    )
    file = RelationFile(
        predicates=predicates.names,
        counts=count_predicates(
            (_with_predicates(own, predicates) for own in counted), len(predicates.names)
        ),
        relations={
            name: [_with_predicates(own, predicates) for own in of_image]
            for name, of_image in found.items()
        },
        info=dict(
            parser=f'spaCy {args.model}',
            min_count=args.min_count,
            counted=args.splits[0],
            keep=args.keep,
        ),
    )
    out = args.out or str(root / 'relations.json')
    file.save(out)
    _report(file, out)
    return file


def _kept_phrases(
    root: Path, name: str, captions: list[MarkedCaption], numbers: Iterable[int], keep: str
) -> Iterator[tuple[int, set[int]]]:
    """Some captions of an image by number, and those of their phrases that the data set keeps."""
    annotated = None
    if keep == 'boxed':
        annotated = read_boxes(str(root / FOLDERS['boxes'] / f'{name}.xml'))
        annotated.drop_empty_boxes()
    for number in numbers:
        yield (
            number,
            {
                index
                for index, phrase in enumerate(captions[number].phrases)
                if is_kept(phrase.chain, keep, annotated)
            },
        )


def _with_predicates(relations: list[Found], predicates: Predicates) -> list[list]:
    """Relations as the file has them."""
    return [
        [subject, object_, predicates.of(words), words] for subject, object_, words in relations
    ]


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
