"""Print pictures of a config's test data with their marked-up texts.

One line per picture, "image path <tab> text", with each phrase in square brackets: what
``demo/image_demo.py`` takes. Example::

    python tools/misc/print_samples.py configs/ppmn/ppmn_r18-fpn_1xb16_shapes.py --num 3
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmground.registry import DATASETS
from mmground.structures import format_markup
from mmground.utils.cli import check_file


def main(argv: Sequence[str] | None = None) -> None:
    """Print the samples.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Raises:
        SystemExit: If the config file does not exist; status 2.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--num', type=int, default=3, help='how many pictures (%(default)s)')
    args = parser.parse_args(argv)
    check_file(parser, args.config, 'config file')
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmground'))
    with redirect_stdout(sys.stderr):  # what the data set reports is not part of the list
        dataset = DATASETS.build(cfg.test_dataloader.dataset)

    shown, overlapping = set(), 0
    for index in range(len(dataset)):
        if len(shown) == args.num:
            break
        record = dataset.get_data_info(index)
        if record['img_path'] in shown:
            continue
        text = format_markup(record['text'], [phrase['span'] for phrase in record['phrases']])
        if text is None:
            overlapping += 1
            continue
        shown.add(record['img_path'])
        print(record['img_path'], ' '.join(text.split()), sep='\t')
    if overlapping:
        print(f'{overlapping} texts left out: their phrases overlap', file=sys.stderr)


if __name__ == '__main__':
    main()
