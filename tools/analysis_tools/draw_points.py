r"""Draw how a model finds referring expressions by points: PBREC and others with its head.

Writes, per expression, as far as the model has the part:

- ``NAME_maps.png``: heat maps of the [CLS] attention, the center-ness and the mass-ness;
- ``NAME_proposals.png``: the k best proposals (red), that of the best point (blue) and the result
  (green), boxes and masks.

NAME is the image's with a number for further expressions, or the sample's id. For expressions of
your own, or for the config's test data with its annotations::

    python tools/analysis_tools/draw_points.py CONFIG CHECKPOINT photo.jpg \
        'the left dog' 'the smaller cat' --out-dir out
    python tools/analysis_tools/draw_points.py CONFIG CHECKPOINT --num-samples 20 --out-dir out \
        --cfg-options test_dataloader.dataset.split=val
"""

from collections.abc import Sequence

import numpy as np

from mmground.apis.expression_drawing import draw_expressions, parse_drawing_arguments
from mmground.models.heads import PointGroundingHead
from mmground.structures import GroundingDataSample
from mmground.visualization import draw_point_maps, draw_proposals, missing_point_pictures


def main(argv: Sequence[str] | None = None) -> list[str]:
    """Run the model, draw and write.

    Args:
        argv: Command line arguments; by default those of the process.

    Returns:
        The files written.

    Raises:
        SystemExit: If anything is wrong with the input, with one line that says what.
    """
    args = parse_drawing_arguments(__doc__, argv)
    told = set()

    def draw(image: np.ndarray, sample: GroundingDataSample) -> dict[str, np.ndarray]:
        missing = missing_point_pictures(sample)
        for reason in set(missing.values()) - told:
            told.add(reason)
            print(f'left out: {reason}')
        pictures = dict(maps=draw_point_maps(image, sample))
        if 'proposals' not in missing:
            pictures['proposals'] = draw_proposals(image, sample)
        return pictures

    return draw_expressions(
        args, PointGroundingHead, draw, keep_attention=True, keep_candidates=True
    )


if __name__ == '__main__':
    main()
