"""Is a copy of the data of referring expressions complete and consistent?"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmground.structures import mask_area

from .check_report import CheckReport, check_files, decode_records
from .refer_api import REFER_SETS, Instances, Ref, ReferSet, read_instances, read_refs


@dataclass
class ReferReport(CheckReport):
    """What was found in a split of a set.

    ``counts`` has ``images``, ``refs`` and ``expressions``.

    Attributes:
        published: The published counts by the same names, None where there are none.
    """

    published: dict[str, int | None] = field(default_factory=dict)


def check_refer_set(
    root: str | Path,
    name: str,
    image_folder: str | None = None,
    decode: bool = False,
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda results, total: results,
) -> list[ReferReport]:
    """Check a set in the layout of the refer API: every file that a reference needs.

    Args:
        root: The data root.
        name: A key of :data:`REFER_SETS`.
        image_folder: Folder of the images. By default that of the refer API.
        decode: Also decode every image, and compare its size with the annotated one.
        workers: Processes for decoding.
        progress: Wraps the decoding's results, as a progress bar does; gets their number.

    Returns:
        A report for the annotation files, whose name is that of the set, if they have
        problems; then one for each split, unless they cannot be read. Problems are collected,
        not raised.
    """
    root, refer_set = Path(root), REFER_SETS[name]
    whole = ReferReport(name)
    try:
        refs = read_refs(str(root / refer_set.refs_path))
        ann_ids = {ref.ann_id for ref in refs if ref.ann_id is not None}
        instances = read_instances(str(root / refer_set.instances_path), ann_ids)
    except (FileNotFoundError, ValueError) as error:
        whole.add('unusable annotation files', str(error))
        return [whole]
    folder = Path(image_folder) if image_folder is not None else root / refer_set.image_folder
    by_split = defaultdict(list)
    for ref in refs:
        by_split[ref.split].append(ref)
    for split in set(by_split) - set(refer_set.splits):
        for ref in by_split[split]:
            whole.add(
                'references of a split that the set does not have',
                f'reference {ref.ref_id}: {split!r}',
            )
    _check_overlap(refer_set, by_split, whole)
    reports = [whole] if whole.problems else []
    for split, published in refer_set.splits.items():
        report = ReferReport(f'{name} {split}', instances.description, published=vars(published))
        used = _check_refs(by_split[split], instances, str(root / refer_set.refs_path), report)
        check_files(folder, (instances.images[i].file_name for i in used), 'missing images', report)
        if decode:
            records = [_image_record(folder, i, instances) for i in used]
            decode_records(records, report, workers, progress)
        reports.append(report)
    return reports


def _check_overlap(
    refer_set: ReferSet, by_split: dict[str, list[Ref]], report: CheckReport
) -> None:
    if refer_set.shares_images:
        return
    seen: dict[int, str] = {}
    for split in refer_set.splits:
        images = dict.fromkeys(ref.image_id for ref in by_split[split])
        for image_id in images:
            if seen.setdefault(image_id, split) != split:
                report.add(
                    'images in two splits', f'image {image_id}: {seen[image_id]} and {split}'
                )


def _check_refs(
    refs: list[Ref], instances: Instances, refs_path: str, report: CheckReport
) -> list[int]:
    """Count, and resolve every annotation. Returns the ids of the images that there are."""
    images = dict.fromkeys(ref.image_id for ref in refs)
    report.counts = dict(
        images=len(images), refs=len(refs), expressions=sum(len(ref.sentences) for ref in refs)
    )
    if not refs:
        report.add('splits without a reference', refs_path)
    for ref in refs:
        where = f'reference {ref.ref_id} (image {ref.image_id}, annotation {ref.ann_id})'
        for sentence in ref.sentences:
            if not sentence.text:
                report.add('expressions without any text', f'{where}: {sentence.sent_id}')
        try:
            image, instance = instances.of(ref, refs_path)
        except ValueError as error:
            report.add('images or annotations that instances.json lacks', str(error))
            continue
        if instance is None:
            report.add('references without a target', where)
            continue
        try:
            if not instance.mask or not mask_area(instance.mask, (image.height, image.width)):
                report.add('empty masks', where)
        except ValueError as error:
            report.add('malformed masks', f'{where}: {error}')
        x, y, width, height = instance.bbox
        # A box may end with the fraction of a pixel that polygons do.
        if not (
            width > 0
            and height > 0
            and min(x, y) >= -1
            and x + width <= image.width + 1
            and y + height <= image.height + 1
        ):
            report.add(
                'boxes without area or outside the image',
                f'{where}: {instance.bbox} (x, y, width, height) in {image.width} x {image.height}',
            )
    return [image_id for image_id in images if image_id in instances.images]


def _image_record(folder: Path, image_id: int, instances: Instances) -> dict:
    image = instances.images[image_id]
    return dict(
        sample_id=f'image {image_id}',
        img_path=str(folder / image.file_name),
        height=image.height,
        width=image.width,
        # The masks have been checked without drawing them.
        regions=[],
    )
