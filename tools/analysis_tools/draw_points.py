r"""Draw how a model finds referring expressions by points: PBREC and others with its head.

Writes, per expression, as far as the model has the part:

- ``NAME_maps.png``: heat maps of the [CLS] attention, the center-ness and the mass-ness;
- ``NAME_proposals.png``: the k best proposals (red), that of the best point (blue) and the result
  (green), boxes and masks.

NAME is the image's with a number for further expressions, or the sample's id. For expressions of
your own, or for the config's test data with its annotations::

    python tools/analysis_tools/draw_points.py CONFIG CHECKPOINT photo.jpg \
        'the left dog' 'the smaller cat' --out-dir out
    python tools/analysis_tools/draw_points.py CONFIG CHECKPOINT --num-samples 20 --out-dir out \
        --cfg-options test_dataloader.dataset.split=val
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import mmcv
import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate

from mmground.apis import GroundingInferencer, changed_test_cfg
from mmground.models.heads import PointGroundingHead
from mmground.registry import DATASETS
from mmground.utils.cli import add_trust_argument, check_device
from mmground.visualization import draw_point_maps, draw_proposals, missing_point_pictures


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line of the tool."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
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
    parser.add_argument('--device', help='device to run on; a GPU if there is one by default')
    add_trust_argument(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings of the config: key=value'
    )
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
    if args.image is not None and not args.texts:
        raise ValueError(f'give an expression about the image {args.image}')
    inferencer = GroundingInferencer(
        args.config,
        args.checkpoint,
        args.device,
        cfg_options=args.cfg_options,
        trust_checkpoint=args.trust_checkpoint,
    )
    model = inferencer.model
    if not isinstance(getattr(model, 'head', None), PointGroundingHead):
        head = type(getattr(model, 'head', model)).__name__
        raise ValueError(
            f'points can be drawn of models with a PointGroundingHead, such as PBREC, not {head}'
        )
    files: list[str] = []
    for batch in _batches(args, inferencer):
        with changed_test_cfg(model, keep_attention=True, keep_candidates=True), torch.no_grad():
            samples = model.test_step(batch)
        for sample in samples:
            if sample.pred_phrases.dropped.any():
                raise ValueError(f'the text encoder reads no piece of the text {sample.text!r}')
            missing = missing_point_pictures(sample)
            if not files:
                for reason in missing.values():
                    print(f'left out: {reason}')
            record = dict(img_path=sample.img_path, sample_id=sample.sample_id)
            image = np.ascontiguousarray(inferencer.pipeline.load(record)['img'][..., ::-1])
            pictures = dict(maps=draw_point_maps(image, sample))
            if 'proposals' not in missing:
                pictures['proposals'] = draw_proposals(image, sample)
            for kind, picture in pictures.items():
                name = f'{quote(str(sample.sample_id), safe="")}_{kind}.png'
                path = str(Path(args.out_dir) / name)
                mmcv.imwrite(picture[..., ::-1], path)
                files.append(path)
                print(f'{path}: {sample.text}')
    return files


def _batches(args: argparse.Namespace, inferencer: GroundingInferencer) -> Iterator[dict]:
    """What the model takes: all expressions of an image, or a sample of the test data."""
    if args.image is not None:
        texts = args.texts[0] if len(args.texts) == 1 else args.texts
        yield from inferencer.preprocess(args.image, texts=texts)
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


if __name__ == '__main__':
    main()
