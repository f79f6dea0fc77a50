r"""Draw how a model moves the boxes of phrases and relates them: ReIR and others with its head.

Writes, per text, as far as the model has the part:

- ``NAME_refinement.png``: the proposals that phrases chose (dashed) and the boxes that became of
  them;
- ``NAME_comparison.png``, with ``--compare``: the boxes of another model (dashed), such as one
  without graph, and those of this one;
- ``NAME_graph.png``: the object graph, related phrases and how much they attend to each other.

NAME is the image's with a number for further texts, or the sample's id. For texts of your own, with
phrases in brackets, or for the config's test data with its annotations::

    python tools/analysis_tools/draw_phrase_boxes.py CONFIG CHECKPOINT photo.jpg \
        'A [man] throws [a red frisbee]' --detector DET_CONFIG DET_CKPT --relations 1-2 \
        --out-dir out
    python tools/analysis_tools/draw_phrase_boxes.py CONFIG CHECKPOINT --num-samples 20 \
        --compare configs/reir/ablations/OTHER_CONFIG OTHER_CKPT --out-dir out
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from mmground.apis import GroundingInferencer
from mmground.apis.expression_drawing import draw_expressions, parse_drawing_arguments
from mmground.apis.proposal_source import add_proposal_arguments
from mmground.models.heads import WeakGroundingHead
from mmground.structures import GroundingDataSample, format_markup
from mmground.visualization import (
    draw_box_comparison,
    draw_box_refinement,
    draw_object_graph,
    missing_box_pictures,
)


def main(argv: Sequence[str] | None = None) -> list[str]:
    """Run the model, draw and write.

    Args:
        argv: Command line arguments; by default those of the process.

    Returns:
        The files written.

    Raises:
        SystemExit: If anything is wrong with the input, with one line that says what.
    """
    args = parse_drawing_arguments(__doc__, argv, _add_arguments)
    other = None
    if args.compare is not None:
        try:
            other = _OtherModel(args)
        except (ValueError, OSError, ImportError) as error:
            raise SystemExit(f'error: --compare: {error}') from error
    told = set()

    def draw(image: np.ndarray, sample: GroundingDataSample) -> dict[str, np.ndarray]:
        missing = missing_box_pictures(sample)
        for reason in set(missing.values()) - told:
            told.add(reason)
            print(f'left out: {reason}')
        pictures = dict(refinement=draw_box_refinement(image, sample))
        if other is not None:
            pictures['comparison'] = draw_box_comparison(
                image, sample, other.boxes(image, sample), other.name
            )
        if 'graph' not in missing:
            pictures['graph'] = draw_object_graph(image, sample)
        return pictures

    return draw_expressions(
        args, WeakGroundingHead, draw, check=other and other.check_classes, keep_graph=True
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--compare',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another model, which sees the same proposals; its boxes are dashed',
    )
    add_proposal_arguments(parser)


class _OtherModel:
    """The model of ``--compare``, on what the first one saw."""

    def __init__(self, args: argparse.Namespace) -> None:
        config, checkpoint = args.compare
        self.name = Path(config).stem
        self._inferencer = GroundingInferencer(
            config, checkpoint, args.device, trust_checkpoint=args.trust_checkpoint
        )
        self._head = getattr(self._inferencer.model, 'head', None)
        if not isinstance(self._head, WeakGroundingHead):
            raise ValueError(f'{config} is no config of a model with a WeakGroundingHead')

    def check_classes(self, model: nn.Module) -> None:
        """Raise a ValueError unless a model means the same categories by the same labels."""
        if model.head.similarity.names != self._head.similarity.names:
            raise ValueError(
                f'--compare: {self.name} has other categories of proposals '
                '(model.head.similarity.classes), so that the two cannot see the same'
            )

    def boxes(self, image: np.ndarray, sample: GroundingDataSample) -> Tensor:
        """Its boxes of a sample's phrases, in an image (RGB)."""
        markup = format_markup(sample.text, [phrase['span'] for phrase in sample.phrases])
        if markup is None:
            raise ValueError(f'--compare: phrases of {sample.sample_id!r} overlap')
        proposals = sample.proposals
        relations = None
        if self._head.graph is not None and 'relations' in sample:
            relations = sample.relations.tolist()
        result = self._inferencer(
            np.ascontiguousarray(image[..., ::-1]),
            markup,
            proposals=dict(
                boxes=proposals.bboxes.cpu(),
                labels=proposals.labels.tolist(),
                scores=proposals.scores.cpu(),
            ),
            relations=relations,
            return_datasamples=True,
        )
        return result['predictions'][0].pred_phrases.bboxes


if __name__ == '__main__':
    main()
