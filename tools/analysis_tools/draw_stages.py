r"""Draw how a cascade finds referring expressions, stage by stage: JMCELN and others with its head.

Writes ``NAME_stages.png`` per expression: the masks that the features before the first stage and
after each would give, by the shared upsampler. NAME is the image's with a number for further
expressions, or the sample's id. For expressions of your own, or for the config's test data with
its annotations::

    python tools/analysis_tools/draw_stages.py CONFIG CHECKPOINT photo.jpg \\
        'the left dog' 'the smaller cat' --out-dir out
    python tools/analysis_tools/draw_stages.py CONFIG CHECKPOINT --num-samples 20 --out-dir out
"""

from collections.abc import Sequence

import numpy as np

from mmground.apis.expression_drawing import draw_expressions, parse_drawing_arguments
from mmground.models.heads import ContextualCascadeHead
from mmground.structures import GroundingDataSample
from mmground.visualization import draw_stage_masks


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

    def draw(image: np.ndarray, sample: GroundingDataSample) -> dict[str, np.ndarray]:
        return dict(stages=draw_stage_masks(image, sample))

    return draw_expressions(args, ContextualCascadeHead, draw, keep_stages=True)


if __name__ == '__main__':
    main()
