"""Is a copy of the panoptic narrative grounding data complete and consistent?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .check_report import CheckReport, check_files, decode_records
from .png import PanopticFile, PNGDataset, iter_narratives


@dataclass
class PNGReport(CheckReport):
    """What was found in a split, ``'train'`` or ``'val'``.

    ``counts`` has ``narratives``, ``phrases`` (nouns with segments), ``segments`` (distinct ones
    that phrases name) and ``images`` in the narratives, as the files have them.

    Attributes:
        filtered: ``narratives`` and ``phrases`` that the official preparation keeps. Empty if
            no vocabulary was given, or the annotations have problems.
    """

    filtered: dict[str, int] = field(default_factory=dict)


def check_png(
    root: str | Path,
    split: str,
    vocab_file: str | None = None,
    decode: bool = False,
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda results, total: results,
) -> PNGReport:
    """Check a split in the layout of the README: every file that a narrative needs.

    Args:
        root: Folder with ``images`` and ``annotations``.
        split: ``'train'`` or ``'val'``.
        vocab_file: The text encoder's WordPiece vocabulary, with which the official
            preparation's filter is counted.
        decode: Also decode every image and every mask that a narrative needs.
        workers: Processes for decoding.
        progress: Wraps the decoding's results, as a progress bar does; gets their number.

    Returns:
        The report. Problems are collected, not raised.
    """
    paths = dict(
        data_root=str(root),
        ann_file=f'annotations/png_coco_{split}2017.json',
        panoptic_ann_file=f'annotations/panoptic_{split}2017.json',
        data_prefix=dict(
            img_path=f'images/{split}2017',
            seg_map_path=f'annotations/panoptic_segmentation/{split}2017',
        ),
    )
    report = PNGReport(split)
    try:
        panoptic = PanopticFile(str(Path(root) / paths['panoptic_ann_file']))
        report.description = panoptic.description
        used = _check_narratives(str(Path(root) / paths['ann_file']), panoptic, report)
    except (FileNotFoundError, ValueError) as error:
        report.add('unusable annotation files', str(error))
        return report
    _check_files(Path(root), paths['data_prefix'], panoptic, used, report)
    if vocab_file is not None and not report.problems:
        try:
            dataset = PNGDataset(**paths, legacy_alignment=True, vocab_file=vocab_file)
        except ValueError as error:
            report.add('annotations that cannot be used', str(error))
        else:
            report.filtered = dict(
                narratives=dataset.counts['samples'], phrases=dataset.counts['phrases']
            )
    if decode:
        folders = {key: Path(root) / folder for key, folder in paths['data_prefix'].items()}
        _decode_all(folders, panoptic, used, report, workers, progress)
    return report


def _check_narratives(path: str, panoptic: PanopticFile, report: PNGReport) -> dict[int, set[int]]:
    """Count, and resolve every segment id.

    Returns:
        Ids of the segments that phrases name, by image.
    """
    narratives = phrases = 0
    used: dict[int, set[int]] = {}
    for index, narrative in enumerate(iter_narratives(path)):
        narratives += 1
        where = f'narrative {index}'
        try:
            image_id = int(narrative['image_id'])
            grounded = [
                (utterance['utterance'], utterance['segment_ids'])
                for utterance in narrative['segments']
                if utterance['noun'] and utterance['segment_ids']
            ]
            if not isinstance(narrative['caption'], str):
                raise TypeError('the caption is no string')
        except (KeyError, TypeError, ValueError) as error:
            report.add('malformed narratives', f'{where}: {error!r}')
            continue
        phrases += len(grounded)
        segments = panoptic.segments(image_id)
        if segments is None:
            report.add(
                'narratives of an image that the panoptic file lacks', f'{where}: image {image_id}'
            )
            continue
        named = used.setdefault(image_id, set())
        for text, segment_ids in grounded:
            for segment_id in segment_ids:
                if str(segment_id).isdecimal() and int(segment_id) in segments:
                    named.add(int(segment_id))
                else:
                    report.add(
                        'segment ids that the panoptic file lacks',
                        f'{where} (image {image_id}): {text!r} names {segment_id!r}',
                    )
    report.counts = dict(
        narratives=narratives,
        phrases=phrases,
        segments=sum(map(len, used.values())),
        images=len(used),
    )
    return used


def _check_files(
    root: Path, folders: dict[str, str], panoptic: PanopticFile, used: dict, report: PNGReport
) -> None:
    for kind, key, attribute in (
        ('missing images', 'img_path', 'file_name'),
        ('missing panoptic PNGs', 'seg_map_path', 'seg_map_name'),
    ):
        names = (getattr(panoptic.images[image_id], attribute) for image_id in used)
        check_files(root / folders[key], names, kind, report)


def _decode_all(
    folders: dict[str, Path],
    panoptic: PanopticFile,
    used: dict[int, set[int]],
    report: PNGReport,
    workers: int,
    progress: Callable,
) -> None:
    records = []
    for image_id, segment_ids in used.items():
        image = panoptic.images[image_id]
        record = dict(
            sample_id=f'image {image_id}',
            img_path=str(folders['img_path'] / image.file_name),
            seg_map_path=str(folders['seg_map_path'] / image.seg_map_name),
            height=image.height,
            width=image.width,
            # Without a box: it would be computed for nothing.
            regions=[dict(segment_id=i, bbox=None) for i in sorted(segment_ids)],
        )
        records.append(record)
    decode_records(records, report, workers, progress)
