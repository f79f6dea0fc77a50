"""Write proposals that were extracted elsewhere into a file for LoadProposals.

Examples::

    python tools/dataset_converters/import_proposals.py reir precomp_annos.pkl p.db \\
        --classes objects_vocab.txt
    python tools/dataset_converters/import_proposals.py tsv train.tsv p.db --classes ...
    python tools/dataset_converters/import_proposals.py npz features/ p.db --classes ... \\
        --first-label 0

``reir`` is the pickle of ReIR's official code; ``tsv`` the table of bottom-up-attention with
categories, as LXMERT has it; ``npz`` a folder with an archive per image, as of
bottom-up-attention.pytorch. Boxes are in pixels of the original images. Of ``reir`` the first of an
image are taken, as the official code does, of the others the best.
"""

import argparse
import hashlib
from collections.abc import Sequence

from rich.progress import track

from mmground.converters.proposals import READERS, ImportedProposals
from mmground.datasets.proposal_store import ProposalWriter
from mmground.datasets.word_vectors import read_names
from mmground.utils.cli import check_file

_BATCH = 256


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kind', choices=list(READERS), help='what the file is')
    parser.add_argument('source', help='the file; for npz the folder')
    parser.add_argument('out', help='file to write; images are added to one that is there')
    parser.add_argument(
        '--classes',
        required=True,
        metavar='FILE',
        help="names of the detector's categories, one a line; of synonyms the first is taken",
    )
    parser.add_argument('--detector', help='name of the detector (the kind of the file)')
    parser.add_argument('--num', type=int, default=50, help='boxes of an image (%(default)s)')
    parser.add_argument(
        '--first-label',
        type=int,
        help='number of the first category in the source; lower ones are background (reir: 1, tsv: '
        '0; npz, of which both are about, needs it)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Import proposals.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Raises:
        SystemExit: If the command line is wrong, the names do not exist, or the number of the first
            category is missing; status 2.
        FileNotFoundError: If the source does not exist.
        ValueError: If it is malformed, or an image is in the file already.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    check_file(parser, args.classes, 'file of names')
    classes = read_names(args.classes)
    try:
        source = ImportedProposals(args.source, args.kind, args.first_label, args.num)
    except ValueError as error:
        parser.error(str(error))
    header = dict(
        detector=args.detector or args.kind,
        classes=classes,
        # The detector's settings are unknown; what is known tells files apart.
        config_hash=hashlib.sha256(f'{args.kind} {"|".join(classes)}'.encode()).hexdigest(),
        boxes='imported',
        num=args.num,
        first_label=source.first_label,
        order=source.order,
    )
    count = 0
    with ProposalWriter(args.out, header, args.overwrite) as writer:
        batch = []
        for entry in track(source, description='Importing', total=None):
            batch.append(entry)
            count += 1
            if len(batch) == _BATCH:
                writer.add(batch)
                batch = []
        writer.add(batch)
    print(f'{args.out}: added proposals of {count} images')
    for kind, number in source.left_out.items():
        if number:
            print(f'left out {number} boxes: {kind}')


if __name__ == '__main__':
    main()
