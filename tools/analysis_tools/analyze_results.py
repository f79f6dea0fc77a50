"""Break dumped results down by kind of phrase, and draw the worst and the best cases.

Writes ``analysis.md`` (tables, and the cases with their pictures), ``analysis.json`` (the
same numbers) and ``cases/*.png`` (ground truth beside prediction, each phrase with its IoU).
Example::

    python tools/test.py CONFIG CHECKPOINT --out results.jsonl.gz
    python tools/analysis_tools/analyze_results.py results.jsonl.gz --out-dir analysis
    python tools/analysis_tools/analyze_results.py results.jsonl.gz --out-dir out --task referring
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmengine.structures import InstanceData

from mmground.evaluation import DumpedResults, image_of
from mmground.evaluation.breakdown import (
    ScoredSamples,
    breakdown,
    extreme_samples,
    referring_breakdown,
    score_expressions,
    score_phrases,
)
from mmground.structures import GroundingDataSample
from mmground.utils.cli import check_file
from mmground.visualization import GroundingVisualizer


def main(argv: Sequence[str] | None = None) -> dict:
    """Analyze, write the files, print the tables.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        The content of ``analysis.json``.

    Raises:
        SystemExit: If the file of results does not exist; status 2.
        FileNotFoundError: If the image of a case does not exist.
        ValueError: If the file of results is damaged.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('results', help='what tools/test.py --out wrote (.jsonl or .jsonl.gz)')
    parser.add_argument('--out-dir', required=True, help='folder to write to')
    parser.add_argument(
        '--task',
        choices=('png', 'referring'),
        default='png',
        help='panoptic narrative grounding or referring expressions (%(default)s)',
    )
    parser.add_argument(
        '--protocol',
        default='original',
        help="protocol of the task's metric, PNGMetric or ReferringMetric (%(default)s)",
    )
    parser.add_argument(
        '--num-cases', type=int, default=10, help='worst, and best, cases (%(default)s each)'
    )
    parser.add_argument(
        '--img-dir', help='folder of the images, where they are no longer at the recorded paths'
    )
    args = parser.parse_args(argv)
    check_file(parser, args.results, 'file of results')
    results = DumpedResults(args.results)
    try:
        if args.task == 'png':
            phrases = score_phrases(results, args.protocol)
            groups = breakdown(phrases, results.categories)
        else:
            phrases = score_expressions(results, args.protocol)
            groups = referring_breakdown(phrases)
    except KeyError as error:
        raise SystemExit(
            f'error: {error.args[0]}. Results that have boxes of phrases alone are for '
            'compare_results.py --task phrases'
        ) from error
    worst, best = extreme_samples(phrases, args.num_cases)
    out_dir = Path(args.out_dir)
    cases = {
        'worst': [_case(phrases, index, f'worst_{i:02d}') for i, index in enumerate(worst, 1)],
        'best': [_case(phrases, index, f'best_{i:02d}') for i, index in enumerate(best, 1)],
    }
    _draw_cases(args.task, results, [*cases['worst'], *cases['best']], out_dir, args.img_dir)
    analysis = dict(
        results=str(args.results),
        protocol=args.protocol,
        num_samples=len(phrases.sample_ids),
        breakdown=groups,
        cases=cases,
    )
    (out_dir / 'analysis.json').write_text(
        json.dumps(analysis, indent=2, ensure_ascii=False) + '\n', encoding='utf-8'
    )
    tables = _tables(analysis)
    (out_dir / 'analysis.md').write_text(tables + _gallery(cases), encoding='utf-8')
    print(tables)
    print(f'Tables and pictures: {out_dir / "analysis.md"}')
    return analysis


def _case(phrases: ScoredSamples, index: int, name: str) -> dict:
    members = phrases.of_sample(index)
    ious = [None if np.isnan(iou) else round(float(iou), 4) for iou in phrases.ious[members]]
    return dict(
        sample_id=phrases.sample_ids[index],
        mean_iou=round(float(phrases.sample_scores()[index]), 4),
        picture=f'cases/{name}.png',
        phrases=[
            dict(text=phrases.texts[i], iou=iou) for i, iou in zip(members, ious, strict=True)
        ],
    )


def _draw_cases(
    task: str, results: DumpedResults, cases: list[dict], out_dir: Path, img_dir: str | None
) -> None:
    (out_dir / 'cases').mkdir(parents=True, exist_ok=True)
    # Pale masks: whether a phrase's colour words are right shows in the picture.
    visualizer = GroundingVisualizer(name='analyze_results', alpha=0.2)
    waiting = {case['sample_id']: case for case in cases}
    for sample in results:
        case = waiting.pop(sample.sample_id, None)
        if case is None:
            continue
        image = image_of(sample, img_dir)
        case['img_path'], case['text'] = sample.img_path, sample.text
        notes = {i: f'IoU {_format(phrase["iou"])}' for i, phrase in enumerate(case['phrases'])}
        shown = _with_masks_only(sample) if task == 'png' else sample
        picture = visualizer.draw(image, shown, notes=notes)
        mmcv.imwrite(picture[..., ::-1], str(out_dir / case['picture']))


def _with_masks_only(sample: GroundingDataSample) -> GroundingDataSample:
    """Boxes would hide what is scored."""
    shown = sample.clone()
    shown.gt_regions = InstanceData(masks=sample.gt_regions.masks)
    shown.pred_phrases = InstanceData(masks=sample.pred_phrases.masks)
    return shown


def _tables(analysis: dict) -> str:
    lines = [
        f'# {analysis["results"]}',
        '',
        f'{analysis["num_samples"]} samples, protocol `{analysis["protocol"]}`, in percent.',
    ]
    for kind, groups in analysis['breakdown'].items():
        if kind == 'category':
            groups = dict(sorted(groups.items(), key=lambda item: -item[1]['num_phrases']))
        lines += ['', *_table(kind, groups)]
    return '\n'.join(lines) + '\n'


def _table(kind: str, groups: dict[str, dict]) -> list[str]:
    """Markdown, aligned for who reads it as it is."""
    # The number of phrases, and what was measured.
    count, *measures = next(iter(groups.values()))
    rows = [[kind, count.removeprefix('num_'), *measures]]
    for name, group in groups.items():
        rows.append([name, str(group[count]), *(f'{group[m]:.2f}' for m in measures)])
    widths = [max(6, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rows.insert(1, ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])])
    return [
        f'| {row[0]:{widths[0]}} | '
        + ' | '.join(f'{cell:>{width}}' for cell, width in zip(row[1:], widths[1:], strict=True))
        + ' |'
        for row in rows
    ]


def _gallery(cases: dict[str, list[dict]]) -> str:
    lines = []
    for kind, chosen in cases.items():
        lines += ['', f'## {kind.capitalize()} cases']
        for case in chosen:
            lines += [
                '',
                f'### `{case["sample_id"]}`, mean IoU {_format(case["mean_iou"])}',
                '',
                f'![Ground truth beside prediction]({case["picture"]})',
                '',
            ]
            # Numbered as in the picture.
            lines += [
                f'{i}. {phrase["text"]}: {_format(phrase["iou"])}'
                for i, phrase in enumerate(case['phrases'], 1)
            ]
            lines += ['', f'Image: `{case["img_path"]}`']
    return '\n'.join(lines) + '\n'


def _format(iou: float | None) -> str:
    """An IoU; a dash where prediction and target are both empty."""
    return '-' if iou is None else f'{iou:.2f}'


if __name__ == '__main__':
    main()
