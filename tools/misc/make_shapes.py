"""Generate Grounding Shapes, a data set of shapes with texts, in real data sets' formats.

A folder holds one set of pictures. With the same numbers, size and seed, formats that it lacks are
added, and its files stay as they are.
"""

import argparse
import os
import sys

from mmground.datasets.grounding_shapes import FORMATS, generate, image_splits


def parse_args(argv=None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('out_root', help='folder of the data set, for example data/shapes')
    parser.add_argument(
        '--format',
        nargs='+',
        choices=sorted(FORMATS),
        default=['png'],
        help='formats to write, of which those that the folder lacks are added (%(default)s)',
    )
    parser.add_argument('--train', type=int, default=10000, help='images of the train split')
    parser.add_argument('--val', type=int, default=300, help='images of the val split')
    parser.add_argument(
        '--test',
        type=int,
        help='images of the test split, which all but png and coco have (as many as --val)',
    )
    parser.add_argument('--size', type=int, default=128, help='side of the images in pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes')
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace another generated data set: deletes everything in the folder',
    )
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Generate, then print what was made; 1 if the arguments or the folder forbid it."""
    args = parse_args(argv)
    counts = dict(train=args.train, val=args.val)
    if args.test is not None:
        counts['test'] = args.test
    elif 'test' in image_splits(args.format):
        counts['test'] = args.val
    try:
        description, made = generate(
            args.out_root,
            formats=args.format,
            counts=counts,
            size=args.size,
            seed=args.seed,
            workers=args.workers,
            overwrite=args.overwrite,
        )
    except (ValueError, FileExistsError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    done = f'made {", ".join(made)}' if made else 'complete already, nothing made'
    print(f'{args.out_root}: {done}')
    for name, splits in description['summary'].items():
        for split, numbers in splits.items():
            print(f'{name} {split}: ' + ', '.join(f'{key} {n}' for key, n in numbers.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
