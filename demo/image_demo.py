"""Ground the phrases of a text in pictures.

Example::

    python demo/image_demo.py photo.jpg 'A [man] throws [a red frisbee].' \
        configs/ppmn/ppmn_r18-fpn_1xb16_shapes.py checkpoint.pth --out-dir out --panoptic
    python demo/image_demo.py photo.jpg 'the smaller dog on the left' \
        configs/pbrec/pbrec-mt_r18_shapes.py checkpoint.pth --out-dir out --candidates
    python demo/image_demo.py photo.jpg 'A [man] throws [a red frisbee].' \
        configs/reir/reir_r18_shapes.py checkpoint.pth --out-dir out --relations 1-2 \
        --detector configs/reir/faster-rcnn_r18_shapes.py detector.pth
"""

import argparse
from collections.abc import Sequence

from mmground.apis import GroundingInferencer
from mmground.apis.proposal_source import add_proposal_arguments, proposals_of, relations_of
from mmground.structures import mask_area
from mmground.utils.cli import add_inference_arguments, check_device

_TEXT_HELP = (
    "text with its phrases in brackets, 'A [man] in [a boat]'; for systems of referring "
    "expressions, such as PBREC, the whole text is the phrase: 'the smaller dog on the left'"
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line of the demo."""
    parser = argparse.ArgumentParser(description='Ground the phrases of a text in pictures')
    parser.add_argument('image', help='image file, or a folder of images')
    parser.add_argument('text', help=_TEXT_HELP)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='file with the weights of the model')
    parser.add_argument(
        '--phrases', nargs='+', help='the phrases, as they stand in the text, in place of brackets'
    )
    parser.add_argument(
        '--out-dir', default='outputs', help='folder for pictures (vis) and JSON files (preds)'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images in one pass')
    parser.add_argument(
        '--panoptic',
        action='store_true',
        help='also merge the phrases into a panoptic segmentation, in COCO format (panoptic)',
    )
    parser.add_argument(
        '--candidates',
        action='store_true',
        help='also give the candidates that box and mask were chosen from (PBREC)',
    )
    parser.add_argument('--show', action='store_true', help='show the pictures in a window')
    add_proposal_arguments(parser)
    add_inference_arguments(parser)
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: Command line arguments; by default those of the process.
    """
    args = parse_args(argv)
    try:
        inferencer = GroundingInferencer(
            args.config,
            args.checkpoint,
            args.device,
            cfg_options=args.cfg_options,
            trust_checkpoint=args.trust_checkpoint,
            proposals=proposals_of(args),
        )
        results = inferencer(
            args.image,
            args.text,
            phrases=args.phrases,
            batch_size=args.batch_size,
            show=args.show,
            panoptic=args.panoptic,
            candidates=args.candidates,
            out_dir=args.out_dir,
            relations=relations_of(args),
        )
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error
    for prediction in results['predictions']:
        print(f'\n{prediction["img_path"]}')
        print(format_table(prediction))
        if 'segments' in prediction:
            print(format_segments(prediction))
        if args.candidates:
            print(format_candidates(prediction))
    if results['files']:
        print('\nwritten:')
        for path in results['files']:
            print(f'  {path}')


def format_table(prediction: dict) -> str:
    """A prediction as a text table.

    Args:
        prediction: A dict of the inferencer's ``predictions``.

    Returns:
        A line per phrase: its share of the image, score and box, "-" for what the
        system does not predict. A model that finds points only has them in place of the box.
    """
    rows = [('phrase', 'area', 'score', 'box (x1, y1, x2, y2)')]
    pixels = prediction['height'] * prediction['width']
    for phrase in prediction['phrases']:
        if 'bbox' not in phrase and 'points' in phrase:
            points = phrase['points'].items()
            place = '; '.join(f'{task} point at {_format_numbers(xy)}' for task, xy in points)
        else:
            place = _format_numbers(phrase.get('bbox'))
        rows.append(
            (
                f'{phrase["text"]} (cut off)' if phrase.get('truncated') else phrase['text'],
                f'{phrase["area"] / pixels:.1%}' if 'area' in phrase else '-',
                f'{phrase["score"]:.2f}' if 'score' in phrase else '-',
                place,
            )
        )
    return _format_rows(rows)


def format_candidates(prediction: dict) -> str:
    """The candidates of a prediction as a text table.

    Args:
        prediction: A dict of the inferencer's ``predictions``, with candidates.

    Returns:
        A line per candidate, best score first; the result has a star.
    """
    rows = [('candidate', 'area', 'score', 'box (x1, y1, x2, y2)')]
    shape = prediction['height'], prediction['width']
    pixels = shape[0] * shape[1]
    for phrase in prediction['phrases']:
        for kind in ('box', 'mask'):
            for index, own in enumerate(phrase.get(f'{kind}_candidates', ())):
                star = ' *' if index == phrase[f'{kind}_choice'] else ''
                area = f'{mask_area(own["mask"], shape) / pixels:.1%}' if kind == 'mask' else '-'
                box = _format_numbers(own['bbox']) if kind == 'box' else '-'
                rows.append((f'{kind} {index + 1}{star}', area, f'{own["score"]:.2f}', box))
    return _format_rows(rows)


def format_segments(prediction: dict) -> str:
    """The panoptic segmentation of a prediction as a text table.

    Args:
        prediction: A dict of the inferencer's ``predictions`` with ``segments``.

    Returns:
        A line per segment with its phrases, and a last one for phrases that have none.
    """
    texts = [phrase['text'] for phrase in prediction['phrases']]
    pixels = prediction['height'] * prediction['width']
    rows = [('segment', 'area', 'score', 'box (x1, y1, x2, y2)')]
    rows += [
        (
            ' = '.join(texts[index] for index in segment['phrases']),
            f'{segment["area"] / pixels:.1%}',
            f'{segment["score"]:.2f}',
            _format_numbers(segment['bbox']),
        )
        for segment in prediction['segments']
    ]
    placed = {index for segment in prediction['segments'] for index in segment['phrases']}
    left_out = [text for index, text in enumerate(texts) if index not in placed]
    table = _format_rows(rows)
    return f'{table}\n  without a segment: {", ".join(left_out)}' if left_out else table


def _format_numbers(values: Sequence[float] | None) -> str:
    return 'none' if values is None else ', '.join(f'{value:.0f}' for value in values)


def _format_rows(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return '\n'.join(
        f'  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}'
        for row in rows
    )


if __name__ == '__main__':
    main()
