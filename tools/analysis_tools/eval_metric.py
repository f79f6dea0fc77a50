"""Evaluate dumped results anew, without the model.

Examples::

    python tools/test.py CONFIG CHECKPOINT --out results.jsonl.gz
    python tools/analysis_tools/eval_metric.py CONFIG results.jsonl.gz
    python tools/analysis_tools/eval_metric.py original,png256 results.jsonl.gz
    python tools/analysis_tools/eval_metric.py canvas results.jsonl.gz --task referring
"""

import argparse
import json
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from mmground.evaluation import DumpedResults
from mmground.utils.cli import check_file

_METRICS = {'png': 'PNGMetric', 'referring': 'ReferringMetric'}


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate, print the metrics as JSON.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        The metrics by name, as ``tools/test.py`` returns them.

    Raises:
        SystemExit: If a file does not exist; status 2.
        ValueError: If the file of results is damaged.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument(
        'metric',
        help="a config, of which test_evaluator is taken, or protocols of the task's metric, "
        'separated by commas',
    )
    parser.add_argument('results', help='what tools/test.py --out wrote (.jsonl or .jsonl.gz)')
    parser.add_argument(
        '--task',
        choices=_METRICS,
        default='png',
        help='panoptic narrative grounding (PNGMetric) or referring expressions (ReferringMetric), '
        'where protocols are given (%(default)s)',
    )
    parser.add_argument('--out', metavar='FILE.json', help='also write the metrics to this file')
    args = parser.parse_args(argv)
    check_file(parser, args.results, 'file of results')
    if args.metric.endswith(('.py', '.json', '.yaml', '.yml')):
        check_file(parser, args.metric, 'config file')
        cfg = Config.fromfile(args.metric)
        init_default_scope(cfg.get('default_scope', 'mmground'))
        metrics = cfg.get('test_evaluator')
        if metrics is None:
            parser.error(f'the config has no test_evaluator: {args.metric}')
        metrics = [metrics] if isinstance(metrics, dict) else metrics
        metrics = [metric for metric in metrics if metric['type'] != 'DumpGroundingResults']
    else:
        init_default_scope('mmground')
        metrics = [dict(type=_METRICS[args.task], protocol=args.metric.split(','))]

    try:
        evaluator = Evaluator(metrics)
    except ValueError as error:
        parser.error(str(error))
    results = DumpedResults(args.results)
    categories = [dict(id=id_, name=name) for id_, name in results.categories.items()]
    evaluator.dataset_meta = dict(categories=categories)
    try:
        values = evaluator.offline_evaluate(results)
    except (KeyError, ValueError) as error:
        raise SystemExit(f'error: {error.args[0]}') from error
    text = json.dumps(values, indent=2)
    print(text)
    if args.out is not None:
        with open(args.out, 'w', encoding='utf-8') as file:
            file.write(text + '\n')
    return values


if __name__ == '__main__':
    main()
