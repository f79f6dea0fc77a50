r"""Draw how a model refines its phrases: PPMN, DRMN and others with a PhrasePixelHead.

Writes, per phrase, as far as the model has the part:

- ``NAME_N_maps.png``: the probabilities before the first round and after each;
- ``NAME_N_points.png``: the pixels that the phrase selects in each round, by attention weight;
- ``NAME_N_sampling.png``: where these pixels sample on each level in the last round.

NAME is the image's, N the number of the phrase in the text, from 1. Example::

    python tools/analysis_tools/draw_refinement.py CONFIG CHECKPOINT photo.jpg \
        'A [man] throws [a red frisbee].' --out-dir out --phrase 2
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np

from mmground.apis import GroundingInferencer
from mmground.models.heads import RefinementTrace, trace_refinement
from mmground.utils.cli import add_inference_arguments, check_device
from mmground.visualization import (
    draw_response_maps,
    draw_sampling_points,
    draw_selected_points,
    missing_pictures,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line of the tool."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='file with the weights of the model')
    parser.add_argument('image', help='image file, or a folder of images')
    parser.add_argument('text', help="text with its phrases in brackets: 'A [man] in [a boat]'")
    parser.add_argument(
        '--phrases', nargs='+', help='the phrases, as they stand in the text, in place of brackets'
    )
    parser.add_argument('--out-dir', required=True, help='folder to write the pictures to')
    parser.add_argument(
        '--phrase',
        type=int,
        nargs='+',
        metavar='N',
        help='numbers of the phrases to draw, from 1; by default all',
    )
    parser.add_argument(
        '--piece',
        type=int,
        metavar='N',
        help='number of the word piece of each phrase whose points are drawn, from 1; by default '
        'those of all its pieces',
    )
    parser.add_argument(
        '--num-samples', type=int, default=50, help='samples of each level (%(default)s)'
    )
    add_inference_arguments(parser)
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    return args


def main(argv: Sequence[str] | None = None) -> list[str]:
    """Run the model, draw and write.

    Args:
        argv: Command line arguments; by default those of the process.

    Returns:
        The files written.

    Raises:
        SystemExit: If anything is wrong with the input, with one line that says what.
    """
    args = parse_args(argv)
    try:
        return _draw(args)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error


def _draw(args: argparse.Namespace) -> list[str]:
    if args.num_samples < 1:
        raise ValueError(f'--num-samples must be at least 1, got {args.num_samples}')
    inferencer = GroundingInferencer(
        args.config,
        args.checkpoint,
        args.device,
        cfg_options=args.cfg_options,
        trust_checkpoint=args.trust_checkpoint,
    )
    files = []
    for batch in inferencer.preprocess(args.image, texts=args.text, phrases=args.phrases):
        (trace,) = trace_refinement(inferencer.model, batch)
        phrases = _phrases(args, trace)
        if not files:
            for reason in missing_pictures(trace).values():
                print(f'left out: {reason}')
        sample = trace.sample
        record = dict(img_path=sample.img_path, sample_id=sample.sample_id)
        image = np.ascontiguousarray(inferencer.pipeline.load(record)['img'][..., ::-1])
        for phrase in phrases:
            for kind, picture in _pictures(image, trace, phrase, args):
                path = Path(args.out_dir) / f'{sample.sample_id}_{phrase + 1}_{kind}.png'
                mmcv.imwrite(picture[..., ::-1], str(path))
                files.append(str(path))
                print(f'{path}: {sample.phrases[phrase]["text"]}')
    return files


def _phrases(args: argparse.Namespace, trace: RefinementTrace) -> list[int]:
    """Indices of the phrases to draw, each with something to draw."""
    count = len(trace.sample.phrases)
    for number in args.phrase or ():
        if not 1 <= number <= count:
            raise ValueError(f'--phrase {number}: the text has {count} phrase(s), counted from 1')
    phrases = [number - 1 for number in args.phrase or range(1, count + 1)]
    for phrase in phrases:
        pieces = len(trace.queries_of(phrase))
        if args.piece is not None and not 1 <= args.piece <= pieces:
            text = trace.sample.phrases[phrase]['text']
            raise ValueError(
                f'--piece {args.piece}: the phrase {text!r} has {pieces} queries, counted from 1'
            )
    return phrases


def _pictures(image: np.ndarray, trace: RefinementTrace, phrase: int, args: argparse.Namespace):
    """Pairs of a kind and a picture of it."""
    yield 'maps', draw_response_maps(image, trace, phrase)
    query = None if args.piece is None else args.piece - 1
    if trace.has_points:
        yield 'points', draw_selected_points(image, trace, phrase, query)
    if trace.has_sampling:
        yield 'sampling', draw_sampling_points(image, trace, phrase, query, args.num_samples)


if __name__ == '__main__':
    main()
