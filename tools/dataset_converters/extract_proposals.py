"""Write what a detector proposes for the images of a data set, for LoadProposals.

The file has boxes, categories and scores of each image. A run that was interrupted goes on where it
stopped, and another split may be added to the file by the same command.

Examples::

    python tools/dataset_converters/extract_proposals.py DET_CONFIG DET_CKPT CONFIG --out p.db
    python tools/dataset_converters/extract_proposals.py DET_CONFIG DET_CKPT data/images \\
        --out proposals/ --boxes rpn

Images are those of the data sets of a CONFIG, by their ids; or those in a folder, whose ids are
their names without suffix, as in Flickr30k Entities.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from mmground.apis.proposal_extractor import BOXES, ProposalExtractor, is_detector
from mmground.datasets.proposal_store import ProposalWriter
from mmground.datasets.word_vectors import read_names
from mmground.registry import DATASETS
from mmground.utils import register_all_modules
from mmground.utils.cli import add_trust_argument, check_file, run_tool
from mmground.utils.config_options import is_config_name

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')

_MOST_NAMED = 5


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('data', help='config file with data sets, or folder of images')
    parser.add_argument(
        '--out',
        required=True,
        help='file to write; in a folder, the file is called after the detector and --boxes',
    )
    parser.add_argument(
        '--loaders',
        nargs='+',
        choices=('train', 'val', 'test'),
        default=['train', 'val', 'test'],
        help='whose data sets of a config (default: all)',
    )
    parser.add_argument(
        '--boxes',
        choices=BOXES,
        default='regressed',
        help='what the detector finds, or the boxes of its region proposal network (%(default)s)',
    )
    parser.add_argument('--num', type=int, default=50, help='boxes of an image (%(default)s)')
    parser.add_argument(
        '--classes', metavar='FILE', help='names of the categories, one a line, if unknown'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at once (%(default)s)')
    parser.add_argument('--workers', type=int, default=0, help='processes that load images')
    parser.add_argument('--device', default=get_device())
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    add_trust_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Extract proposals.

    Args:
        argv: The command line without the name of the program. Defaults to the one of this
            process.

    Raises:
        SystemExit: If the command line is wrong or a file does not exist; status 2.
        ValueError: If the checkpoint does not fit, the file is of another detector, or an image
            cannot be read.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    check_file(parser, args.config, 'config file of the detector')
    check_file(parser, args.checkpoint, 'checkpoint of the detector')
    register_all_modules()
    if not (is_config_name(args.config) and is_detector(Config.fromfile(args.config))):
        parser.error(
            f'{args.config}: DET_CONFIG must be a detector of mmdet; the order is DET_CONFIG '
            'DET_CHECKPOINT CONFIG'
        )
    if Path(args.data).is_dir():
        images = _images_in(Path(args.data))
    else:
        check_file(parser, args.data, 'config file or folder')
        if not is_config_name(args.data):
            parser.error(
                f'{args.data} is no config (.py) and no folder: the order is DET_CONFIG '
                'DET_CHECKPOINT CONFIG'
            )
        images = _images_of(Config.fromfile(args.data), args.loaders)
    if not images:
        parser.error(f'there are no images in {args.data}')
    extractor = ProposalExtractor(
        args.config,
        args.checkpoint,
        boxes=args.boxes,
        num=args.num,
        classes=None if args.classes is None else read_names(args.classes),
        device=args.device,
        trust_checkpoint=args.trust_checkpoint,
    )
    out = Path(args.out)
    if args.out.endswith('/') or out.is_dir():
        out /= f'{extractor.header["detector"]}_{args.boxes}.db'
    with ProposalWriter(str(out), extractor.header, args.overwrite) as writer:
        done = writer.done()
        left = [(img_id, path) for img_id, path in images.items() if img_id not in done]
        print(f'{len(images)} images, {len(images) - len(left)} of them done already')
        few, empty = 0, []
        loader = DataLoader(
            _Images(extractor, left),
            args.batch_size,
            num_workers=args.workers,
            collate_fn=pseudo_collate,
        )
        for batch in track(loader, description='Detecting') if left else ():
            img_ids = batch.pop('img_id')
            found = extractor(batch)
            writer.add(zip(img_ids, found, strict=True))
            few += sum(len(own['boxes']) < args.num for own in found)
            empty += [i for i, own in zip(img_ids, found, strict=True) if not len(own['boxes'])]
    print(f'\n{out}: added proposals of {len(left)} images')
    if few:
        print(
            f'{few} of them have fewer than {args.num}; lower the score threshold of the detector '
            '(model.test_cfg) for more'
        )
    if empty:
        named = ', '.join(empty[:_MOST_NAMED]) + (', ...' if len(empty) > _MOST_NAMED else '')
        print(
            f'{len(empty)} of them have none, and a training stops at their samples: {named}. '
            'Lower the threshold in the config of the detector and run this again with '
            '--overwrite, or leave these images out of the data set'
        )


class _Images(Dataset):
    """Images as the detector takes them."""

    def __init__(self, extractor: ProposalExtractor, images: list[tuple[str, str]]) -> None:
        self.prepare = extractor.prepare
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        img_id, path = self.images[index]
        return dict(self.prepare(path), img_id=img_id)


def _images_in(folder: Path) -> dict[str, str]:
    """Files of a folder by their names without suffix."""
    images: dict[str, str] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            other = images.setdefault(path.stem, str(path))
            if other != str(path):
                raise ValueError(
                    f'{other} and {path} have the same name, by which images are known here; give '
                    'a config of the data set instead of the folder'
                )
    return images


def _images_of(cfg: Config, loaders: Sequence[str]) -> dict[str, str]:
    """Files of a config's data sets by the images' ids."""
    init_default_scope(cfg.get('default_scope', 'mmground'))
    images: dict[str, str] = {}
    for name in loaders:
        loader = cfg.get(f'{name}_dataloader')
        if loader is None:
            continue
        # Loading annotations is enough, and the pipeline may want the file that is to be written.
        dataset = DATASETS.build(dict(loader.dataset, pipeline=[]))
        for index in range(len(dataset)):
            record = dataset.get_data_info(index)
            other = images.setdefault(record['img_id'], record['img_path'])
            if other != record['img_path']:
                raise ValueError(
                    f'{other} and {record["img_path"]} have the same id {record["img_id"]!r}; '
                    'write a file for each of the data sets, with --loaders'
                )
    return images


if __name__ == '__main__':
    run_tool(main)
