"""Is a copy of the panoptic narrative grounding data complete and consistent?"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from os import listdir
from pathlib import Path

from .png import PanopticFile, PNGDataset, iter_narratives
from .transforms import LoadGroundingImage, LoadGroundingMasks

_EXAMPLES = 5


@dataclass
class PNGReport:
    """What was found in a split.

    Attributes:
        split: ``'train'`` or ``'val'``.
        description: Of the panoptic file's ``info``.
        counts: ``narratives``, ``phrases`` (nouns with segments), ``segments`` (distinct ones
            that phrases name) and ``images`` in the narratives, as the files have them.
        filtered: ``narratives`` and ``phrases`` that the official preparation keeps. Empty if
            no vocabulary was given, or the annotations have problems.
        problems: Number of problems by kind.
        examples: Descriptions of the first few problems by kind.
    """

    split: str
    description: str = ''
    counts: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: str) -> None:
        """Note a problem."""
        self.problems[kind] += 1
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(example)


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
        folder = root / folders[key]
        # Listed once: asking for each of a hundred thousand files takes minutes on a network.
        there = set(listdir(folder)) if folder.is_dir() else set()
        for image_id in used:
            name = getattr(panoptic.images[image_id], attribute)
            if name not in there:
                report.add(kind, f'{folder / name}')


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
    if workers <= 1:
        _collect(report, progress(map(_decode, records), len(records)))
        return
    with get_context('spawn').Pool(workers) as pool:
        _collect(report, progress(pool.imap_unordered(_decode, records, 16), len(records)))


def _collect(report: PNGReport, results: Iterable[Sequence[tuple[str, str]]]) -> None:
    for problems in results:
        for kind, message in problems:
            report.add(kind, message)


def _decode(record: dict) -> list[tuple[str, str]]:
    """Problems with the image or the masks of a record, as pairs of kind and message."""
    problems = []
    try:
        record = LoadGroundingImage()(record)
    except FileNotFoundError:
        pass  # counted already
    except ValueError as error:
        problems.append(('unusable images', str(error)))
    # Where the image is at fault, the masks are checked against the annotated size.
    record['ori_shape'] = (record['height'], record['width'])
    try:
        LoadGroundingMasks()(record)
    except FileNotFoundError:
        pass
    except ValueError as error:
        problems.append(('unusable masks', str(error)))
    return problems
