"""Is a copy of Flickr30k Entities complete and consistent?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .check_report import CheckReport, check_files, decode_records
from .flickr30k_files import (
    CAPTIONS_PER_IMAGE,
    FOLDERS,
    NOT_VISUAL,
    PUBLISHED_IMAGES,
    ChainBoxes,
    MarkedCaption,
    read_boxes,
    read_captions,
    read_split,
)


@dataclass
class Flickr30kReport(CheckReport):
    """What was found in a split.

    ``counts`` has ``images``, ``captions``, marked ``phrases``, and of these ``boxed``, those that
    have a box.

    Published are numbers of images, and so of captions. Phrases are not compared with any: their
    number, and that of boxes, depends on the reader, which may take the first name of an object or
    all of them, and which one the data of ReIR were made with is not known.

    Attributes:
        published: The published counts by the same names, None where there are none.
    """

    published: dict[str, int | None] = field(default_factory=dict)


def check_flickr30k(
    root: str | Path,
    split: str,
    image_folder: str | None = None,
    decode: bool = False,
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda results, total: results,
) -> Flickr30kReport:
    """Check a split: every file that its list needs.

    Args:
        root: Folder with ``Sentences``, ``Annotations`` and the lists.
        split: Name of the list, without ``.txt``.
        image_folder: Folder of the images, or of a folder of them for each split, as Grounding
            Shapes has ``train2017``. By default ``flickr30k-images`` in the root.
        decode: Also decode every image, and compare its size with the annotated one.
        workers: Processes for decoding.
        progress: Wraps the decoding's results, as a progress bar does; gets their number.

    Returns:
        A report. Problems are collected, not raised.
    """
    root = Path(root)
    images = PUBLISHED_IMAGES.get(split)
    captions = None if images is None else images * CAPTIONS_PER_IMAGE
    report = Flickr30kReport(
        split, published=dict(images=images, captions=captions, phrases=None, boxed=None)
    )
    try:
        names = list(dict.fromkeys(name for name, _ in read_split(str(root / f'{split}.txt'))))
    except (FileNotFoundError, ValueError) as error:
        report.add('unusable lists', str(error))
        return report
    report.counts = dict(images=len(names), captions=0, phrases=0, boxed=0)
    folder = root / FOLDERS['img_path'] if image_folder is None else Path(image_folder)
    if (folder / f'{split}2017').is_dir():
        folder /= f'{split}2017'
    records = []
    for name in names:
        try:
            captions = read_captions(str(root / FOLDERS['sentences'] / f'{name}.txt'))
            annotated = read_boxes(str(root / FOLDERS['boxes'] / f'{name}.xml'))
        except (FileNotFoundError, ValueError) as error:
            report.add('unusable annotation files', str(error))
            continue
        _check_image(name, captions, annotated, report)
        records.append(
            dict(
                sample_id=f'image {name}',
                img_path=str(folder / f'{name}.jpg'),
                height=annotated.height,
                width=annotated.width,
                regions=[],
            )
        )
    check_files(folder, (f'{name}.jpg' for name in names), 'missing images', report)
    if decode:
        decode_records(records, report, workers, progress)
    return report


def _check_image(
    name: str, captions: list[MarkedCaption], annotated: ChainBoxes, report: Flickr30kReport
) -> None:
    report.counts['captions'] += len(captions)
    report.description = annotated.source
    known = annotated.boxes.keys() | annotated.no_box | annotated.scene
    for number, caption in enumerate(captions):
        for phrase in caption.phrases:
            report.counts['phrases'] += 1
            report.counts['boxed'] += phrase.chain in annotated.boxes
            if phrase.chain != NOT_VISUAL and phrase.chain not in known:
                report.add(
                    'phrases of chains that the file of boxes lacks',
                    f'image {name}, caption {number}: {phrase.text!r} (chain {phrase.chain})',
                )
    for chain, boxes in annotated.boxes.items():
        for box in boxes:
            x1, y1, x2, y2 = box
            # Coordinates are less 1, so a box may begin before the image.
            if not (-1 <= x1 < x2 <= annotated.width and -1 <= y1 < y2 <= annotated.height):
                report.add(
                    'boxes without area or outside the image',
                    f'image {name}, chain {chain}: {box} (xyxy) in '
                    f'{annotated.width} x {annotated.height}',
                )
