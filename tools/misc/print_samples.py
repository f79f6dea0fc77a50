"""Print pictures of a config's test data with their marked-up texts.

One line per picture, "image path <tab> text", with each phrase in square brackets: what
``demo/image_demo.py`` takes. Example::

    python tools/misc/print_samples.py configs/ppmn/ppmn_r18-fpn_1xb16_shapes.py --num 3
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmground.registry import DATASETS
from mmground.utils.cli import check_file


def mark_up(text: str, spans: Iterable[tuple[int, int]]) -> str | None:
    r"""Put phrases in square brackets.

    Args:
        text: The plain text.
        spans: Character range of each phrase, in any order; a repeated one counts once.

    Returns:
        The text with ``[`` and ``]`` around each phrase, and with its own brackets and
        backslashes escaped by ``\``; None if phrases overlap, which brackets cannot say.

    Example:
        >>> mark_up('A man on grass', [(9, 14), (2, 5)])
        'A [man] on [grass]'
    """

    def escape(part: str) -> str:
        return re.sub(r'([\[\]\\])', r'\\\1', part)

    marked, cursor = '', 0
    for start, end in sorted(set(map(tuple, spans))):
        if start < cursor:
            return None
        marked += f'{escape(text[cursor:start])}[{escape(text[start:end])}]'
        cursor = end
    return marked + escape(text[cursor:])


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
        text = mark_up(record['text'], [phrase['span'] for phrase in record['phrases']])
        if text is None:
            overlapping += 1
            continue
        shown.add(record['img_path'])
        print(record['img_path'], ' '.join(text.split()), sep='\t')
    if overlapping:
        print(f'{overlapping} texts left out: their phrases overlap', file=sys.stderr)


if __name__ == '__main__':
    main()
