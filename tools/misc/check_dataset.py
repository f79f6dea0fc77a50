"""Check that a copy of a data set is complete and consistent, and count what is in it.

Examples::

    python tools/misc/check_dataset.py png data/png
    python tools/misc/check_dataset.py png data/png --vocab data/bert-base-uncased/vocab.txt \
        --masks --workers 8
    python tools/misc/check_dataset.py refer data/refcoco
    python tools/misc/check_dataset.py refer data/shapes --images data/shapes/images
    python tools/misc/check_dataset.py flickr30k data/flickr30k
    python tools/misc/check_dataset.py flickr30k data/shapes/flickr30k --images data/shapes/images

The exit status is 1 if there are problems.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.progress import track
from terminaltables import AsciiTable

from mmground.datasets.check_report import CheckReport
from mmground.datasets.flickr30k_check import Flickr30kReport, check_flickr30k
from mmground.datasets.flickr30k_files import PUBLISHED_IMAGES
from mmground.datasets.grounding_shapes.png_format import DESCRIPTION
from mmground.datasets.png_check import PNGReport, check_png
from mmground.datasets.refcoco_check import ReferReport, check_refer_set
from mmground.datasets.refer_api import REFER_SETS
from mmground.utils.cli import check_file

# Of the released files (the official code), and after the official preparation (DRMN).
_PUBLISHED_NARRATIVES = dict(train=134272)
_PUBLISHED_FILTERED = dict(train=133103, val=8533)
# Of both splits together.
_PUBLISHED_PHRASES = 726445
_PUBLISHED_SEGMENTS = 659298
_PUBLISHED_PHRASES_PER_NARRATIVE = 5.1


def main(argv: Sequence[str] | None = None) -> int:
    """Check, print a report.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        The exit status: 1 if there are problems.

    Raises:
        SystemExit: If the command line is wrong; status 2.
    """
    args = _build_parser().parse_args(argv)
    reports = args.check(args)
    num_problems = sum(sum(report.problems.values()) for report in reports)
    print(f'{args.root}: {num_problems or "no"} problem{"s" * (num_problems != 1)} found')
    return int(num_problems > 0)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    subparsers = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    png = subparsers.add_parser('png', help='panoptic narrative grounding on COCO')
    png.add_argument('root', help='folder with images and annotations, such as data/png')
    png.add_argument(
        '--splits',
        nargs='+',
        choices=('train', 'val'),
        default=['train', 'val'],
        help='what to check (both)',
    )
    png.add_argument(
        '--vocab',
        metavar='FILE',
        help="the text encoder's vocab.txt: also count what the official preparation keeps",
    )
    png.add_argument(
        '--masks',
        action='store_true',
        help='also decode every image and mask that a narrative needs (takes long)',
    )
    png.set_defaults(check=_check_png, parser=png)
    refer = subparsers.add_parser('refer', help='RefCOCO, RefCOCO+, RefCOCOg and ReferItGame')
    refer.add_argument('root', help='folder with a folder for each set, such as data/refcoco')
    refer.add_argument(
        '--sets', nargs='+', choices=list(REFER_SETS), help='what to check (what is there)'
    )
    refer.add_argument(
        '--images', metavar='DIR', help='folder of the images (that of the refer API, in root)'
    )
    refer.add_argument('--decode', action='store_true', help='also decode every image (takes long)')
    refer.set_defaults(check=_check_refer)
    flickr = subparsers.add_parser('flickr30k', help='Flickr30k Entities')
    flickr.add_argument('root', help='folder with the annotations, such as data/flickr30k')
    flickr.add_argument(
        '--splits',
        nargs='+',
        default=list(PUBLISHED_IMAGES),
        help='lists to check, without .txt (%(default)s)',
    )
    flickr.add_argument(
        '--images',
        metavar='DIR',
        help='folder of the images, or of SPLIT2017 folders (flickr30k-images in root)',
    )
    flickr.add_argument(
        '--decode', action='store_true', help='also decode every image (takes long)'
    )
    flickr.set_defaults(check=_check_flickr30k)
    for subparser in (png, refer, flickr):
        subparser.add_argument(
            '--workers', type=int, default=1, help='processes for decoding (%(default)s)'
        )
    return parser


def _check_png(args: argparse.Namespace) -> list[PNGReport]:
    if args.vocab is not None:
        check_file(args.parser, args.vocab, 'vocabulary')
    reports = [
        check_png(args.root, split, args.vocab, args.masks, args.workers, _progress)
        for split in args.splits
    ]
    published = not any(_is_generated(report) for report in reports)
    for report in reports:
        if report.counts:
            _print_png_counts(report)
        _print_problems(report)
    if len(reports) == 2 and all(report.counts for report in reports):
        _print_totals(reports, published)
    return reports


def _check_refer(args: argparse.Namespace) -> list[ReferReport]:
    names = args.sets or _sets_in(Path(args.root)) or ['refcoco']
    reports = []
    for name in names:
        reports += check_refer_set(
            args.root, name, args.images, args.decode, args.workers, _progress
        )
    counted = [report for report in reports if report.counts]
    if counted:
        _print_split_counts(counted, 'referring expressions')
    for report in reports:
        _print_problems(report)
    return reports


def _check_flickr30k(args: argparse.Namespace) -> list[Flickr30kReport]:
    reports = [
        check_flickr30k(args.root, split, args.images, args.decode, args.workers, _progress)
        for split in args.splits
    ]
    if any(report.counts for report in reports):
        _print_split_counts([report for report in reports if report.counts], 'captions')
    for report in reports:
        _print_problems(report)
    return reports


def _sets_in(root: Path) -> list[str]:
    """Sets with a file of references, or with a folder that should have one."""
    return [
        name
        for name, refer_set in REFER_SETS.items()
        if (root / refer_set.refs_path).exists()
        or (name == refer_set.folder and (root / refer_set.folder).is_dir())
    ]


def _progress(results: Iterable, total: int) -> Iterable:
    return track(results, description='Decoding', total=total)


def _is_generated(report: CheckReport) -> bool:
    """Whether the data are Grounding Shapes, of which nothing is published."""
    return DESCRIPTION in report.description


def _print_split_counts(reports: Sequence[ReferReport | Flickr30kReport], title: str) -> None:
    names = list(reports[0].counts)
    rows = [['', *(header for name in names for header in (name, 'published'))]]
    for report in reports:
        row = [report.split]
        for name in names:
            published = None if _is_generated(report) else report.published[name]
            row += [_number(report.counts[name]), _number(published)]
        rows.append(row)
    _print_table(rows, title)


def _print_png_counts(report: PNGReport) -> None:
    published = not _is_generated(report)
    rows = [['', 'in the files', 'published', 'after the official filter', 'published']]
    for name, count in report.counts.items():
        is_narratives = published and name == 'narratives'
        rows.append(
            [
                name,
                _number(count),
                _number(_PUBLISHED_NARRATIVES.get(report.split) if is_narratives else None),
                _number(report.filtered.get(name)),
                _number(_PUBLISHED_FILTERED.get(report.split) if is_narratives else None),
            ]
        )
    _print_table(rows, report.split)


def _print_problems(report: CheckReport) -> None:
    for kind, count in report.problems.items():
        print(f'{report.split}: {count} {kind}')
        for example in report.examples[kind]:
            print(f'  {example}')
        if count > len(report.examples[kind]):
            print(f'  ... and {count - len(report.examples[kind])} more')


def _print_totals(reports: Sequence[PNGReport], published: bool) -> None:
    phrases, segments, narratives = (
        sum(report.counts[name] for report in reports)
        for name in ('phrases', 'segments', 'narratives')
    )
    rows = [
        ['', 'in the files', 'published'],
        ['phrases', _number(phrases), _number(_PUBLISHED_PHRASES if published else None)],
        ['segments', _number(segments), _number(_PUBLISHED_SEGMENTS if published else None)],
        [
            'phrases per narrative',
            f'{phrases / max(narratives, 1):.1f}',
            str(_PUBLISHED_PHRASES_PER_NARRATIVE) if published else '-',
        ],
    ]
    _print_table(rows, 'both splits')


def _print_table(rows: list[list[str]], title: str) -> None:
    table = AsciiTable(rows, title)
    table.justify_columns = dict.fromkeys(range(1, len(rows[0])), 'right')
    print(table.table)


def _number(count: int | None) -> str:
    return '-' if count is None else f'{count:,}'


if __name__ == '__main__':
    sys.exit(main())
