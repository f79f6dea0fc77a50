"""What tools share that draw what a model makes of referring expressions."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import mmcv
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from mmground.registry import DATASETS
from mmground.structures import GroundingDataSample
from mmground.utils.cli import add_inference_arguments, check_device

from .grounding_inferencer import GroundingInferencer
from .inference import changed_test_cfg
from .proposal_source import proposals_of, relations_of


def parse_drawing_arguments(
    description: str,
    argv: list[str] | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """The command line of such a tool.

    Args:
        description: Its docstring, of which the first line is shown.
        argv: Command line arguments; None takes those of the process.
        add_arguments: Adds what the tool takes besides, such as
            :func:`~mmground.apis.proposal_source.add_proposal_arguments`.
    """
    parser = argparse.ArgumentParser(description=description.split('\n', 1)[0])
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='file with the weights of the model')
    parser.add_argument(
        'image',
        nargs='?',
        help="image file, or a folder of images; without it the config's test data",
    )
    parser.add_argument(
        'texts', nargs='*', metavar='text', help='expressions about the image; one for a folder'
    )
    parser.add_argument('--out-dir', required=True, help='folder to write the pictures to')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--num-samples',
        type=int,
        default=10,
        metavar='N',
        help='samples of the test data, spread evenly over it (%(default)s)',
    )
    which.add_argument('--sample-ids', nargs='+', metavar='ID', help='these samples of it')
    if add_arguments is not None:
        add_arguments(parser)
    add_inference_arguments(parser)
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    return args


def draw_expressions(
    args: argparse.Namespace,
    head_type: type,
    draw: Callable[[np.ndarray, GroundingDataSample], Mapping[str, np.ndarray]],
    check: Callable[[nn.Module], None] | None = None,
    **test_cfg,
) -> list[str]:
    """Run the model on what the command line names, and write the pictures of each expression.

    A picture is called ``NAME_KIND.png``; NAME is the image's with a number for further
    expressions, or the sample's id.

    Args:
        args: Of :func:`parse_drawing_arguments`; with arguments of proposals and relations,
            these hold for an image that is named.
        head_type: The head that a model must have.
        draw: From the original image, RGB, (H, W, 3) uint8, and the sample with its predictions to
            pictures, RGB, by their KIND.
        check: Raises a ValueError if the model is none to draw.
        **test_cfg: What the head's ``test_cfg`` is to be meanwhile.

    Returns:
        The files written.

    Raises:
        SystemExit: If anything is wrong with the input, with one line that says what.
    """
    try:
        return list(_draw(args, head_type, draw, check, test_cfg))
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error


def _draw(
    args: argparse.Namespace,
    head_type: type,
    draw: Callable,
    check: Callable | None,
    test_cfg: dict,
) -> Iterator[str]:
    if args.num_samples < 1:
        raise ValueError(f'--num-samples must be at least 1, got {args.num_samples}')
    if args.image is not None and not args.texts:
        raise ValueError(f'give an expression about the image {args.image}')
    takes_proposals = 'detector' in args
    if takes_proposals and args.image is None:
        for option in ('detector', 'proposals', 'relations'):
            if getattr(args, option) is not None:
                raise ValueError(f'--{option} is for an image; test data has its own')
    inferencer = GroundingInferencer(
        args.config,
        args.checkpoint,
        args.device,
        cfg_options=args.cfg_options,
        trust_checkpoint=args.trust_checkpoint,
        proposals=proposals_of(args) if takes_proposals else None,
    )
    model = inferencer.model
    if not isinstance(getattr(model, 'head', None), head_type):
        head = type(getattr(model, 'head', model)).__name__
        raise ValueError(
            f'these pictures are of models with a {head_type.__name__}; this one has a {head}'
        )
    if check is not None:
        check(model)
    for batch in _batches(args, inferencer):
        with changed_test_cfg(model, **test_cfg), torch.no_grad():
            samples = model.test_step(batch)
        for sample in samples:
            if sample.pred_phrases.dropped.any():
                raise ValueError(f'the text encoder reads no piece of the text {sample.text!r}')
            record = dict(img_path=sample.img_path, sample_id=sample.sample_id)
            image = np.ascontiguousarray(inferencer.pipeline.load(record)['img'][..., ::-1])
            for kind, picture in draw(image, sample).items():
                name = f'{quote(str(sample.sample_id), safe="")}_{kind}.png'
                path = str(Path(args.out_dir) / name)
                mmcv.imwrite(picture[..., ::-1], path)
                print(f'{path}: {sample.text}')
                yield path


def _batches(args: argparse.Namespace, inferencer: GroundingInferencer) -> Iterator[dict]:
    """What the model takes: all expressions of an image, or a sample of the test data."""
    if args.image is not None:
        texts = args.texts[0] if len(args.texts) == 1 else args.texts
        relations = relations_of(args) if 'relations' in args else None
        yield from inferencer.preprocess(args.image, texts=texts, relations=relations)
        return
    dataset = DATASETS.build(inferencer.cfg.test_dataloader.dataset)
    if args.sample_ids:
        index_of = {dataset.get_data_info(i)['sample_id']: i for i in range(len(dataset))}
        unknown = [name for name in args.sample_ids if name not in index_of]
        if unknown:
            raise ValueError(
                f'the test data has no sample {unknown[0]!r}; it has {next(iter(index_of))!r}, ...'
            )
        indices = [index_of[name] for name in args.sample_ids]
    else:
        count = min(args.num_samples, len(dataset))
        indices = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    for index in indices:
        yield pseudo_collate([dataset[index]])
