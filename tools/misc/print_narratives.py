"""Print pictures of a panoptic narrative grounding data set with their marked-up narratives.

One line per picture, "image path <tab> narrative", with each grounded phrase in square brackets:
what ``demo/image_demo.py`` takes. Example::

    python tools/misc/print_narratives.py data/shapes --split val2017 --num 3
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path


def mark_up(caption: str, segments: Sequence[dict]) -> str | None:
    r"""Put the grounded noun phrases of a narrative in square brackets.

    Args:
        caption: The narrative.
        segments: Its chunks in order, as in ``png_coco_*.json``: dicts with
            ``utterance``, ``noun`` and ``segment_ids``.

    Returns:
        The narrative with ``[`` and ``]`` around each noun phrase that has a
        segment, and with its own brackets and backslashes escaped by ``\``; None if
        an utterance does not stand in the caption after the one before it.
    """

    def escape(text: str) -> str:
        return re.sub(r'([\[\]\\])', r'\\\1', text)

    marked, cursor = '', 0
    for segment in segments:
        words = segment['utterance'].split()
        if not words:
            continue
        match = re.compile(r'\s+'.join(map(re.escape, words)), re.IGNORECASE).search(
            caption, cursor
        )
        if match is None:
            return None
        phrase = escape(match.group())
        grounded = segment['noun'] and segment['segment_ids']
        marked += escape(caption[cursor : match.start()]) + (f'[{phrase}]' if grounded else phrase)
        cursor = match.end()
    return marked + escape(caption[cursor:])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the narratives.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Raises:
        SystemExit: If an annotation file is missing; status 2.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('root', type=Path, help='folder with images/ and annotations/')
    parser.add_argument('--split', default='val2017', help='default: %(default)s')
    parser.add_argument('--num', type=int, default=3, help='how many pictures (%(default)s)')
    args = parser.parse_args(argv)

    annotations = args.root / 'annotations'
    narratives_file = annotations / f'png_coco_{args.split}.json'
    images_file = annotations / f'panoptic_{args.split}.json'
    for path in (narratives_file, images_file):
        if not path.is_file():
            parser.error(f'annotation file does not exist: {path}')
    file_names = {
        int(image['id']): image['file_name']
        for image in json.loads(images_file.read_text(encoding='utf-8'))['images']
    }
    shown: set[int] = set()
    for narrative in json.loads(narratives_file.read_text(encoding='utf-8')):
        if len(shown) == args.num:
            break
        image_id = int(narrative['image_id'])
        text = mark_up(' '.join(narrative['caption'].split()), narrative['segments'])
        if image_id in shown or text is None or '[' not in text.replace(r'\[', ''):
            continue
        shown.add(image_id)
        print(args.root / 'images' / args.split / file_names[image_id], text, sep='\t')


if __name__ == '__main__':
    main()
