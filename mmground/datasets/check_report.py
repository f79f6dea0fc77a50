"""What the checks of data sets have in common."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from os import listdir
from pathlib import Path

from .transforms import LoadGroundingImage, LoadGroundingMasks

_EXAMPLES = 5


@dataclass
class CheckReport:
    """What was found in a split of a data set.

    Attributes:
        split: Its name.
        description: Of the annotation file's ``info``.
        counts: What is in the files.
        problems: Number of problems by kind.
        examples: Descriptions of the first few problems by kind.
    """

    split: str
    description: str = ''
    counts: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: str) -> None:
        """Note a problem."""
        self.problems[kind] += 1
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(example)


def check_files(folder: Path, names: Iterable[str], kind: str, report: CheckReport) -> None:
    """Note the files that a folder lacks.

    Args:
        folder: The folder.
        names: Of files, which may be in folders of it.
        kind: Of the problem, such as ``'missing images'``.
        report: Gets the problems.
    """
    # Listed once: asking for each of a hundred thousand files takes minutes on a network.
    there: dict[Path, set[str]] = {}
    for name in names:
        path = folder / name
        if path.parent not in there:
            there[path.parent] = set(listdir(path.parent)) if path.parent.is_dir() else set()
        if path.name not in there[path.parent]:
            report.add(kind, str(path))


def decode_records(
    records: Sequence[dict], report: CheckReport, workers: int, progress: Callable
) -> None:
    """Decode the images and masks of records, and note what cannot be decoded.

    Args:
        records: With ``sample_id``, ``img_path``, ``height``, ``width``, ``regions`` and what
            :class:`LoadGroundingMasks` needs.
        report: Gets the problems. Missing files are left to :func:`check_files`.
        workers: Processes.
        progress: Wraps the results, as a progress bar does; gets their number.
    """
    if workers <= 1:
        _collect(report, progress(map(_decode, records), len(records)))
        return
    with get_context('spawn').Pool(workers) as pool:
        _collect(report, progress(pool.imap_unordered(_decode, records, 16), len(records)))


def _collect(report: CheckReport, results: Iterable[Sequence[tuple[str, str]]]) -> None:
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
