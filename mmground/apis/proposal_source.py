"""Where the proposals of a user's images come from."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device

from mmground.datasets.proposal_store import check_same_classes
from mmground.datasets.transforms.proposals import LoadProposals, clip_proposals
from mmground.datasets.word_vectors import read_names

from .proposal_extractor import BOXES, ProposalExtractor

_WAYS = (
    'give a detector (--detector CONFIG CHECKPOINT; in Python proposals=ProposalExtractor(CONFIG, '
    'CHECKPOINT)), or a file of proposals (--proposals FILE)'
)


class ProposalSource:
    """Gives a model that chooses among proposals those of any image.

    Args:
        source: A detector, which runs on the images; or a file of
            :class:`~mmground.datasets.proposal_store.ProposalStore`, in which an image is looked up
            by its name without suffix; or None, if proposals come with each image.
        classes: Names of the categories that the model knows, in the order of the labels.
        num: M, how many proposals of an image the model gets: the best, or the first of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no store, or its categories or the detector's are not the model's.
    """

    def __init__(
        self, source: str | Path | ProposalExtractor | None, classes: Sequence[str], num: int
    ) -> None:
        self.classes = list(classes)
        self.num = num
        self._detector = source if isinstance(source, ProposalExtractor) else None
        self._look_up = None
        if isinstance(source, str | Path):
            self._look_up = LoadProposals(str(source), num)
            theirs = self._look_up.store.header['classes']
            check_same_classes(self.classes, theirs, f'{source}: the proposals')
        elif self._detector is not None:
            header = self._detector.header
            what = f'the detector {header["detector"]}'
            check_same_classes(self.classes, header['classes'], what)
        elif source is not None:
            raise TypeError(
                f'proposals must be a file or a ProposalExtractor, got {type(source).__name__}'
            )

    def __call__(self, images: Sequence[dict]) -> list[dict[str, np.ndarray]]:
        """Proposals of some images, which a detector sees in one batch.

        Args:
            images: Records with ``img`` (BGR, (H, W, 3) uint8), ``img_path`` (None for an array)
                and ``sample_id``; with ``proposals``, see :meth:`check`, these are taken.

        Returns:
            Per image ``boxes``, ``labels`` and ``scores``, as
            :class:`~mmground.datasets.transforms.LoadProposals` gives them.

        Raises:
            ValueError: If there are none of an image, or one lies outside of it.
        """
        given = [image.get('proposals') for image in images]
        if self._detector is not None and any(own is None for own in given):
            unknown = [i for i, own in enumerate(given) if own is None]
            batch = [self._detector.prepare(images[i]['img']) for i in unknown]
            for i, found in zip(unknown, self._detector(pseudo_collate(batch)), strict=True):
                given[i] = {key: value[: self.num] for key, value in found.items()}
        found = []
        for image, own in zip(images, given, strict=True):
            own = self._of_file(image) if own is None else own
            own['boxes'] = clip_proposals(own['boxes'], image['img'].shape[:2], _name(image))
            if not len(own['boxes']):
                raise ValueError(
                    f'there are no proposals for {_name(image)}: lower the score threshold of the '
                    'detector (model.test_cfg of its config), or give other ones'
                )
            found.append(own)
        return found

    def check(self, proposals: dict, image: str) -> dict[str, np.ndarray]:
        """Bring a caller's proposals into form.

        Args:
            proposals: ``boxes``, xyxy in pixels of the original image, (n, 4); ``labels``, (n, ),
                names of categories or their indices; ``scores``, (n, ), of which the best are
                taken, or, without them, the first.
            image: What errors call the image.

        Returns:
            See :meth:`__call__`.

        Raises:
            ValueError: If they are not like this.
        """
        try:
            boxes = np.asarray(proposals['boxes'], np.float32).reshape(-1, 4)
            labels = [self._label(label) for label in proposals['labels']]
            scores = np.asarray(proposals.get('scores', np.ones(len(boxes))), np.float32)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f'the proposals of {image} must be a dict of boxes (n, 4), labels (n, ), names or '
                f'indices of the {len(self.classes)} categories that the model knows '
                f'({", ".join(self.classes[:3])}, ...), and, if known, scores (n, ): {error}'
            ) from error
        problem = None
        if not len(boxes) == len(labels) == len(scores):
            problem = f'{len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores'
        elif not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            problem = 'numbers that are not finite'
        elif not (boxes[:, :2] < boxes[:, 2:]).all():
            problem = 'a box without area; boxes are (left, top, right, bottom)'
        if problem:
            raise ValueError(f'the proposals of {image} have {problem}')
        best = np.argsort(-scores, kind='stable')[: self.num]
        return dict(boxes=boxes[best], labels=np.array(labels, np.int64)[best], scores=scores[best])

    def _label(self, label: str | int) -> int:
        if isinstance(label, str):
            if label not in self.classes:
                raise ValueError(f'{label!r} is no category')
            return self.classes.index(label)
        index = int(label)
        if not 0 <= index < len(self.classes):
            raise ValueError(f'{index} is no index of a category')
        return index

    def _of_file(self, image: dict) -> dict[str, np.ndarray]:
        if self._look_up is None:
            raise ValueError(
                f'the model chooses among proposals, and there are none for {_name(image)}: {_WAYS}'
            )
        if image['img_path'] is None:
            raise ValueError(
                f'an image in memory has no name by which {self._look_up.path} could know it: give '
                'a file, or a detector'
            )
        record = dict(img_id=Path(image['img_path']).stem, sample_id=image['sample_id'])
        try:
            return self._look_up(record)['proposals']
        except ValueError as error:
            raise ValueError(
                f'{error}; or give a detector (--detector CONFIG CHECKPOINT)'
            ) from error


def add_proposal_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--detector``, ``--boxes``, ``--classes``, ``--proposals`` and ``--relations``.

    Args:
        parser: Of a tool that runs the inferencer, changed in place.
    """
    group = parser.add_argument_group('models that choose among proposals, such as ReIR')
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        '--detector',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='any detector of mmdet, which proposes boxes',
    )
    source.add_argument(
        '--proposals', metavar='FILE', help='what extract_proposals.py wrote of the images'
    )
    group.add_argument(
        '--boxes',
        choices=BOXES,
        default='regressed',
        help='what the detector finds, or the boxes of its region proposal network (%(default)s)',
    )
    group.add_argument(
        '--classes', metavar='FILE', help="names of the detector's categories, if it has none"
    )
    group.add_argument(
        '--relations',
        nargs='+',
        metavar='M-N',
        help='related phrases by their numbers in the text, from 1, subject first: 1-2 1-3; or '
        '"parse", which asks spaCy; by default there are none',
    )


def proposals_of(args: argparse.Namespace) -> str | ProposalExtractor | None:
    """What a command line says of the source of proposals.

    Args:
        args: Parsed, with the arguments of :func:`add_proposal_arguments` and
            :func:`~mmground.utils.cli.add_inference_arguments`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the detector cannot be used.
    """
    if args.detector is None:
        return args.proposals
    config, checkpoint = args.detector
    return ProposalExtractor(
        config,
        checkpoint,
        boxes=args.boxes,
        classes=None if args.classes is None else read_names(args.classes),
        device=args.device or get_device(),
        trust_checkpoint=args.trust_checkpoint,
    )


def relations_of(args: argparse.Namespace) -> str | list[tuple[int, int]] | None:
    """What a command line says of relations, as the inferencer takes them.

    Raises:
        ValueError: If an entry is no pair of numbers.
    """
    if args.relations is None or args.relations == ['parse']:
        return args.relations and 'parse'
    pairs = []
    for entry in args.relations:
        numbers = entry.split('-')
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            raise ValueError(
                f'--relations {entry}: expected the numbers of two phrases, such as 1-2, or "parse"'
            )
        pairs.append((int(numbers[0]) - 1, int(numbers[1]) - 1))
    return pairs


def _name(image: dict) -> str:
    return f'image {image["img_path"] or image["sample_id"]}'
