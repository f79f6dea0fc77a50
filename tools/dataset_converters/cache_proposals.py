"""Write the boxes that a model's box localiser proposes for the images of its data sets.

``python tools/dataset_converters/cache_proposals.py CONFIG CHECKPOINT OUT``. A model of the same
weights then takes them from the file, with ``--cfg-options model.localisers.box.cache=OUT``, and
does not run the detector for these images. Data sets whose pipelines change images at random, as
for training, have nothing to gain.
"""

import argparse
from collections.abc import Sequence

import torch
from mmengine.device import get_device
from mmengine.runner import Runner
from rich.progress import track

from mmground.apis import init_model
from mmground.models.cache_keys import image_key
from mmground.models.localisers import BoxCache
from mmground.utils.cli import add_runner_arguments, check_file, load_config


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description='Cache the boxes that a localiser proposes for the images of data sets.'
    )
    add_runner_arguments(parser)
    parser.add_argument('checkpoint', help='weights of the model, with those of its localiser')
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--loaders',
        nargs='+',
        choices=('val', 'test'),
        default=['val', 'test'],
        help='whose data sets (default: val test)',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Cache proposals.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Raises:
        SystemExit: If the command line is wrong, a file does not exist, or the model has no
            localiser of boxes; status 2.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    cfg = load_config(parser, args)
    check_file(parser, args.checkpoint, 'checkpoint')
    if not (cfg.model.get('localisers') or {}).get('box'):
        parser.error(f'{args.config} has no model.localisers.box, so there is nothing to cache')
    cfg.model.localisers.box.cache = None
    model = init_model(cfg, args.checkpoint, get_device(), trust_checkpoint=args.trust_checkpoint)
    localiser = model.localisers['box']
    cache = BoxCache(localiser.fingerprint)
    for name in args.loaders:
        loader = Runner.build_dataloader(cfg[f'{name}_dataloader'], seed=0)
        for data in track(loader, description='Localising'):
            _add(cache, localiser, model.data_preprocessor, data)
    cache.save(args.out)
    print(f'\nwrote {len(cache.rows)} images: {args.out}')


@torch.no_grad()
def _add(cache: BoxCache, localiser, preprocessor, data: dict) -> None:
    """Add the images of a batch that are not there yet."""
    batch = preprocessor(data)
    canvas = preprocessor.raw_canvas(batch['inputs'])
    geometries = {sample.image_index: sample.geometry for sample in batch['data_samples']}
    keys = [image_key(image, geometries[index]) for index, image in enumerate(canvas)]
    new = [index for index, key in enumerate(keys) if key not in cache.rows]
    if new:
        proposals = localiser(canvas[new], [geometries[index] for index in new])
        cache.add([keys[index] for index in new], proposals)


if __name__ == '__main__':
    main()
