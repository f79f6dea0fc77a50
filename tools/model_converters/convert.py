"""Convert published weights: ``python tools/model_converters/convert.py SYSTEM IN OUT``.

``pbrec IN OUT --fcos FCOS --solo SOLO`` adds the detectors that PBREC localises with.
``merge IN [IN ...] OUT`` puts converted parts together, such as an image and a text
encoder's, for a training to start from (``load_from``).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmground.converters import (
    PUBLISHED,
    convert_checkpoint,
    merge_checkpoints,
    merge_parts,
    save_converted,
)
from mmground.utils.cli import add_trust_argument, check_file

# The same beside the source code and in the installed package.
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Kinds of published files that can be added to a system's.
DETECTORS = {'pbrec': ('fcos', 'solo')}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(description='Convert published weights.')
    systems = parser.add_subparsers(dest='system', required=True, metavar='SYSTEM')
    for name, published in PUBLISHED.items():
        system = systems.add_parser(name, help=f'{published.description}')
        system.add_argument('source', metavar='IN', help='published file')
        system.add_argument('out', metavar='OUT', help='checkpoint to write')
        if published.needs_vocabulary:
            system.add_argument(
                '--vocab',
                required=True,
                metavar='FILE',
                help="the BERT's vocab.txt, or the words of ReIR's encoder, which the checkpoint "
                'then carries',
            )
        if published.phrase_vocabulary:
            system.add_argument(
                '--phrase-vocab',
                required=True,
                metavar='FILE',
                help="the words of ReIR's decoder, which the checkpoint then carries",
            )
        system.add_argument(
            '--config',
            default=str(CONFIGS / published.config),
            metavar='FILE',
            help='config of the model that the weights are for (default: configs/'
            f'{published.config})',
        )
        for detector in DETECTORS.get(name, ()):
            system.add_argument(
                f'--{detector}',
                metavar='FILE',
                help=f'{PUBLISHED[detector].description}, to stand in the same checkpoint',
            )
        add_trust_argument(system)
    merge = systems.add_parser('merge', help='put converted parts together')
    merge.add_argument('source', nargs='+', metavar='IN', help='converted checkpoints')
    merge.add_argument('out', metavar='OUT', help='checkpoint to write')
    add_trust_argument(merge)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Convert a published file, or merge converted ones.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Raises:
        SystemExit: If the command line is wrong or a file that it names does not
            exist, status 2; if a file cannot be converted, status 1. Nothing is
            written then.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    merging = args.system == 'merge'
    added = {
        detector: getattr(args, detector)
        for detector in DETECTORS.get(args.system, ())
        if getattr(args, detector) is not None
    }
    sources = args.source if merging else [args.source, *added.values()]
    for source in sources:
        check_file(parser, source, 'input file')
        if Path(source).resolve() == Path(args.out).resolve():
            parser.error(f'the output would replace the input: {source}')
    parts = {}
    try:
        if merging:
            checkpoint = merge_checkpoints(sources, args.trust_checkpoint)
        else:
            check_file(parser, args.config, 'config file')
            vocab_file = getattr(args, 'vocab', None)
            phrase_vocab_file = getattr(args, 'phrase_vocab', None)
            for file in (vocab_file, phrase_vocab_file):
                if file is not None:
                    check_file(parser, file, 'vocabulary')
            model = Config.fromfile(args.config).model
            for system, source in {args.system: args.source, **added}.items():
                parts[source] = convert_checkpoint(
                    system, source, model, vocab_file, args.trust_checkpoint, phrase_vocab_file
                )
            checkpoint = merge_parts(parts.items()) if added else parts[args.source]
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error
    save_converted(checkpoint, args.out)
    num_dropped = 0
    for part in parts.values():
        meta = part['meta']
        print(f'{meta["source"]}: SHA-256 {meta["sha256"]}{_release(meta)}')
        num_dropped += meta['num_dropped']
        for group, count in meta['dropped'].items():
            print(f'dropped {count:4d} without use: {group}')
    dropped = '' if merging else f', dropped {num_dropped}'
    print(f'wrote {len(checkpoint["state_dict"])} tensors{dropped}: {args.out}')


def _release(meta: dict) -> str:
    """What the checksum says of the file, where those of published files are known."""
    releases = PUBLISHED[meta['system']].releases
    if not releases:
        return ''
    known = releases.get(meta['sha256'])
    return f', {known}' if known else f', not {" or ".join(releases.values())} as published'


if __name__ == '__main__':
    main()
