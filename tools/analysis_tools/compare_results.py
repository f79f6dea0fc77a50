"""Compare systems on the same samples: measures with bootstrap intervals, and masks side by side.

Writes ``comparison.md`` (a table, and the cases with their pictures), ``comparison.json`` and
``cases/*.png``. Intervals come from drawing images with replacement; the last columns are
differences from the first system, drawn on the same images. Example::

    python tools/test.py CONFIG_A CHECKPOINT_A --out a.jsonl.gz
    python tools/test.py CONFIG_B CHECKPOINT_B --out b.jsonl.gz
    python tools/analysis_tools/compare_results.py soft=a.jsonl.gz hard=b.jsonl.gz \
        --task referring --out-dir comparison
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np

from mmground.evaluation import DumpedResults, image_of
from mmground.evaluation.breakdown import (
    ScoredSamples,
    score_boxes,
    score_expressions,
    score_phrases,
)
from mmground.evaluation.functional import bootstrap_intervals
from mmground.utils.cli import check_file
from mmground.visualization import draw_comparison

SCORES = dict(png=score_phrases, referring=score_expressions, phrases=score_boxes)
"""By task, what scores a file of results."""


def main(argv: Sequence[str] | None = None) -> dict:
    """Compare, write the files, print the table.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        The content of ``comparison.json``.

    Raises:
        SystemExit: If a file of results does not exist or two have the same name (status 2), or if
            the files are not about the same samples.
        FileNotFoundError: If the image of a case does not exist.
        ValueError: If a file of results is damaged.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument(
        'results',
        nargs='+',
        metavar='NAME=FILE',
        help='what tools/test.py --out wrote, and what to call the system',
    )
    parser.add_argument('--out-dir', required=True, help='folder to write to')
    parser.add_argument(
        '--task',
        choices=tuple(SCORES),
        default='referring',
        help='panoptic narrative grounding, referring expressions, or boxes of phrases of captions '
        '(%(default)s)',
    )
    parser.add_argument(
        '--num-cases',
        type=int,
        default=12,
        help='pictures of phrases, those on which the systems differ most (%(default)s)',
    )
    parser.add_argument(
        '--texts', nargs='+', default=(), help='draw all phrases with these words instead'
    )
    parser.add_argument('--level', type=float, default=0.95, help='of intervals (%(default)s)')
    parser.add_argument(
        '--img-dir', help='folder of the images, where they are no longer at the recorded paths'
    )
    args = parser.parse_args(argv)
    files = {}
    for entry in args.results:
        name, mark, path = entry.partition('=')
        path = path if mark else name
        name = name if mark else Path(path).name.split('.')[0]
        check_file(parser, path, 'file of results')
        if name in files:
            parser.error(f'two systems are called {name!r}: write NAME=FILE')
        files[name] = DumpedResults(path)
    try:
        scored = {name: SCORES[args.task](results) for name, results in files.items()}
    except KeyError as error:
        raise SystemExit(f'error: {error.args[0]}') from error
    _check_same_samples(scored)

    first = next(iter(scored.values()))
    images = {sample.sample_id: sample.img_id for sample in next(iter(files.values()))}
    groups = np.array([images[sample_id] for sample_id in first.sample_ids])[first.sample]
    systems = _measure(scored, groups, args.level)
    out_dir = Path(args.out_dir)
    chosen = _choose(scored, args.num_cases, args.texts)
    cases = _draw_cases(files, scored, chosen, out_dir, args.img_dir)
    comparison = dict(
        results={name: str(results.path) for name, results in files.items()},
        level=args.level,
        num_phrases=len(first.texts),
        num_images=len(set(groups.tolist())),
        systems=systems,
        cases=cases,
    )
    (out_dir / 'comparison.json').write_text(
        json.dumps(comparison, indent=2, ensure_ascii=False) + '\n', encoding='utf-8'
    )
    table = _table(comparison)
    (out_dir / 'comparison.md').write_text(table + _gallery(cases), encoding='utf-8')
    print(table)
    print(f'Table and pictures: {out_dir / "comparison.md"}')
    return comparison


def _check_same_samples(scored: dict[str, ScoredSamples]) -> None:
    """Exit with an error unless all systems have the same phrases in the same order."""
    (first_name, first), *others = scored.items()
    for name, own in others:
        if own.sample_ids != first.sample_ids or own.texts != first.texts:
            differing = set(own.sample_ids) ^ set(first.sample_ids)
            example = f', such as {min(differing)!r}' if differing else ' in another order'
            raise SystemExit(
                f'error: {name} and {first_name} are not about the same samples: {len(differing)} '
                f'are in one of them only{example}. Test both on the same split'
            )


def _measure(scored: dict[str, ScoredSamples], groups: np.ndarray, level: float) -> dict:
    """By system and measure: the value, its interval, and the difference from the first."""
    units = {name: own.unit_scores() for name, own in scored.items()}
    shared = [
        measure
        for measure in next(iter(units.values()))
        if all(measure in own for own in units.values())
    ]
    systems = {name: {} for name in scored}
    for measure in shared:
        scores = 100 * np.stack([own[measure] for own in units.values()])
        counted = ~np.isnan(scores[0])
        scores = scores[:, counted]
        differences = scores - scores[:1]
        intervals, of_differences = (
            bootstrap_intervals(own, groups[counted], level) for own in (scores, differences)
        )
        for i, name in enumerate(systems):
            systems[name][measure] = dict(
                value=float(scores[i].mean()),
                interval=intervals[i].tolist(),
                difference=float(differences[i].mean()),
                difference_interval=of_differences[i].tolist(),
            )
    return systems


def _choose(scored: dict[str, ScoredSamples], count: int, texts: Sequence[str]) -> list[int]:
    """Indices of the phrases to draw."""
    first = next(iter(scored.values()))
    if texts:
        return [i for i, text in enumerate(first.texts) if any(own in text for own in texts)]
    ious = np.stack([np.nan_to_num(own.ious) for own in scored.values()])
    return np.argsort(ious.min(0) - ious.max(0), kind='stable')[:count].tolist()


def _draw_cases(
    files: dict[str, DumpedResults],
    scored: dict[str, ScoredSamples],
    chosen: list[int],
    out_dir: Path,
    img_dir: str | None,
) -> list[dict]:
    (out_dir / 'cases').mkdir(parents=True, exist_ok=True)
    first = next(iter(scored.values()))
    cases = []
    for number, unit in enumerate(chosen, 1):
        index = int(first.sample[unit])
        cases.append(
            dict(
                sample_id=first.sample_ids[index],
                phrase=int(unit - first.of_sample(index)[0]),
                text=first.texts[unit],
                picture=f'cases/{number:02d}.png',
                ious={name: round(float(own.ious[unit]), 4) for name, own in scored.items()},
            )
        )
    wanted = {case['sample_id'] for case in cases}
    samples = {
        name: {sample.sample_id: sample for sample in results if sample.sample_id in wanted}
        for name, results in files.items()
    }
    for case in cases:
        own = {name: found[case['sample_id']] for name, found in samples.items()}
        sample = next(iter(own.values()))
        picture = draw_comparison(
            image_of(sample, img_dir),
            sample,
            case['phrase'],
            {name: found.pred_phrases for name, found in own.items()},
            {name: f'IoU {iou:.2f}' for name, iou in case['ious'].items()},
        )
        mmcv.imwrite(picture[..., ::-1], str(out_dir / case['picture']))
    return cases


def _table(comparison: dict) -> str:
    systems = comparison['systems']
    measures = list(next(iter(systems.values())))
    first = next(iter(systems))
    header = ['system', *measures, *(f'{measure} - {first}' for measure in measures)]
    lines = [
        f'{comparison["num_phrases"]} phrases of {comparison["num_images"]} images, in percent, '
        f'with intervals of {comparison["level"]:.0%}.',
        '',
        '| ' + ' | '.join(header) + ' |',
        '| --- ' * len(header) + '|',
    ]
    for name, own in systems.items():
        cells = [_cell(own[measure], 'value', 'interval', '.1f') for measure in measures]
        for measure in measures:
            shown = _cell(own[measure], 'difference', 'difference_interval', '+.1f')
            cells.append('' if name == first else shown)
        lines.append('| ' + ' | '.join([name, *cells]) + ' |')
    return '\n'.join(lines) + '\n'


def _cell(measure: dict, value: str, interval: str, spec: str) -> str:
    low, high = measure[interval]
    return f'{measure[value]:{spec}} ({low:{spec}} to {high:{spec}})'


def _gallery(cases: list[dict]) -> str:
    lines = []
    for case in cases:
        lines += ['', f'### `{case["sample_id"]}`: {case["text"]}', '', f'![]({case["picture"]})']
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
