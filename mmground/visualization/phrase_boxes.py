"""Pictures of how the boxes of phrases are found: as Fig. 5 of ReIR, and its object graph."""

import numpy as np
from torch import Tensor

from mmground.evaluation.functional import box_iou
from mmground.structures import GroundingDataSample, phrase_boxes

from .grounding_visualizer import GroundingVisualizer, PhrasePanel


def draw_box_refinement(image: np.ndarray, sample: GroundingDataSample) -> np.ndarray:
    """The proposals that phrases chose, dashed, and the boxes that became of them.

    As Fig. 5 (c) of `ReIR <https://arxiv.org/abs/2103.12989>`_. With annotations there is a panel
    of them, and the text says how each IoU changes.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        sample: With what :meth:`WeakGroundingHead.predict` gives.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If there are no initial boxes, or something does not fit the image.
    """
    predicted = sample.pred_phrases
    if 'bboxes_initial' not in predicted:
        raise ValueError(f'sample {sample.get("sample_id")!r} has no initial boxes to draw')
    title = 'Proposals (dashed) and refined boxes'
    return _draw(image, sample, predicted.bboxes_initial, title)


def draw_box_comparison(
    image: np.ndarray, sample: GroundingDataSample, other: Tensor, name: str = 'other model'
) -> np.ndarray:
    """The boxes of a model, and dashed those of another.

    As Fig. 5 (d) of `ReIR <https://arxiv.org/abs/2103.12989>`_, where the other has no graph.

    Args:
        image: See :func:`draw_box_refinement`.
        sample: See :func:`draw_box_refinement`.
        other: The other's boxes of the same phrases, (N, 4).
        name: What the title calls the other.

    Returns:
        See :func:`draw_box_refinement`.

    Raises:
        ValueError: If something does not fit the image or the number of phrases.
    """
    return _draw(image, sample, other, f'{name} (dashed) and this model')


def draw_object_graph(image: np.ndarray, sample: GroundingDataSample) -> np.ndarray:
    """The object graph: phrases at their boxes, and how much they attend to each other.

    An arrow from j to i has the colour of j and the weight omega_ij of Eq. 7 with which i takes up
    what j sees. An edge that was given but carries nothing is a thin line with a 0.

    Args:
        image: See :func:`draw_box_refinement`.
        sample: With what :meth:`WeakGroundingHead.predict` gives with ``keep_graph``, and
            ``relations``.

    Returns:
        See :func:`draw_box_refinement`.

    Raises:
        ValueError: If there is no graph, see :func:`missing_box_pictures`, or something does not
            fit the image.
    """
    reason = missing_box_pictures(sample).get('graph')
    if reason:
        raise ValueError(f'sample {sample.get("sample_id")!r}: {reason}')
    weights = _numpy(sample.pred_phrases.graph_weights)
    edges = np.full(weights.shape, -1.0)
    subjects, objects = _numpy(sample.relations).T
    for one, two in ((subjects, objects), (objects, subjects)):
        edges[one, two] = weights[one, two]
    panel = PhrasePanel(
        'Object graph: weights of what phrases receive',
        boxes=_boxes(sample.pred_phrases.bboxes),
        edges=edges,
    )
    return GroundingVisualizer().draw_panels(image, sample, [panel])


def missing_box_pictures(sample: GroundingDataSample) -> dict[str, str]:
    """Which pictures of a sample there are not.

    Args:
        sample: With its prediction, the graph kept.

    Returns:
        By ``'graph'``, of :func:`draw_object_graph`, why it cannot be drawn; empty if it can.
    """
    if 'graph_weights' not in sample.pred_phrases:
        return {'graph': 'the model has no object graph'}
    if 'relations' not in sample or not len(sample.relations):
        return {'graph': 'the text has no relations, so its graph has no edges'}
    return {}


def _draw(image: np.ndarray, sample: GroundingDataSample, dashed: Tensor, title: str) -> np.ndarray:
    boxes = sample.pred_phrases.bboxes
    panels = [PhrasePanel(title, boxes=_boxes(boxes), dashed=_boxes(dashed))]
    notes = {}
    if 'gt_regions' in sample and len(sample.get('links', ())):
        truth = phrase_boxes(sample.gt_regions.bboxes, sample.links, len(sample.phrases))
        panels.insert(0, PhrasePanel('Annotation', boxes=_boxes(truth)))
        before, after = (box_iou(own, truth).tolist() for own in (dashed, boxes))
        notes = {
            index: f'IoU {one:.2f} to {two:.2f}'
            for index, (one, two) in enumerate(zip(before, after, strict=True))
        }
    return GroundingVisualizer().draw_panels(image, sample, panels, notes=notes)


def _boxes(boxes: Tensor) -> list[np.ndarray]:
    """The one box of each phrase."""
    return [box[None] for box in _numpy(boxes).astype(float)]


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
