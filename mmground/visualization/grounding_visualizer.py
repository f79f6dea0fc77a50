from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import matplotlib.pyplot as plt
import mmcv
import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw
from torch import Tensor

from mmground.registry import VISUALIZERS
from mmground.structures import GroundingDataSample, segment_phrase_masks

from .caption import badge_size, draw_badge, load_font, render_caption
from .edges import draw_edges, draw_leader
from .palette import phrase_color

_BACKGROUND = (255, 255, 255)


@dataclass
class PhrasePanel:
    """What the phrases of a text refer to, in one panel of a picture.

    Args:
        title: Of the panel.
        masks: Bool (N, H, W), or None.
        boxes: Per phrase an array (K, 4), xyxy; None where the panel has no boxes.
        points: Per phrase an array (K, 2), xy, where neither masks nor boxes are known.
        dashed: Per phrase an array (K, 4) of boxes that are compared with ``boxes``.
        edges: How much phrases attend to each other, (N, N), row i to the phrases that i attends
            to: an arrow from each of them. Negative where two are not related, 0 for an edge that
            carries nothing.
    """

    title: str
    masks: np.ndarray | None = None
    boxes: list[np.ndarray] | None = None
    points: list[np.ndarray] | None = None
    dashed: list[np.ndarray] | None = None
    edges: np.ndarray | None = None

    def missing(self) -> set[int]:
        """Phrases without a pixel and without a box."""
        shown = [] if self.masks is None else [[mask.any() for mask in self.masks]]
        for places in (self.boxes, self.points):
            if places is not None:
                shown.append([len(own) > 0 for own in places])
        return {phrase for phrase, kinds in enumerate(zip(*shown, strict=True)) if not any(kinds)}


@VISUALIZERS.register_module()
class GroundingVisualizer(Visualizer):
    """Draws what the phrases of a text refer to.

    A phrase and its regions share a colour and a number. The text stands below the
    picture, its phrases on their colours; a phrase that refers to nothing is struck
    out and followed by "(none)". Where masks overlap, their colours are mixed. Where both
    are known, a phrase has box and mask; annotated boxes are left out beside masks, unless the
    text is one referring expression. The best points are drawn where a model predicts no more.
    Ground truth, prediction and the panoptic segmentation merged from it
    stand side by side, as far as they are drawn.

    Small images are enlarged so that text and outlines are readable, and very
    large ones reduced: ``min_side`` and ``max_side`` bound the longer side of a panel.

    Args:
        name: Name of the instance, see :class:`mmengine.visualization.Visualizer`.
        image: RGB image to start with, (H, W, 3) uint8.
        vis_backends: Where :meth:`add_datasample` stores its pictures.
        save_dir: Folder of those back ends that write files.
        alpha: How much of a region's colour is its mask's, from 0 to 1.
        min_side: Smallest length of the longer side of a panel, in pixels.
        max_side: Largest length of the longer side of a panel, in pixels.
        font_file: A TrueType file for titles, numbers and text. The default, the
            font that Pillow carries, has Latin letters only.

    Example:
        >>> visualizer = GroundingVisualizer()
        >>> picture = visualizer.draw(image, data_sample)  # both RGB uint8
    """

    def __init__(
        self,
        name: str = 'visualizer',
        image: np.ndarray | None = None,
        vis_backends: list[dict] | dict | None = None,
        save_dir: str | None = None,
        alpha: float = 0.5,
        min_side: int = 640,
        max_side: int = 1600,
        font_file: str | None = None,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir)
        self.alpha = alpha
        self.min_side = min_side
        self.max_side = max_side
        self.font_file = font_file

    def show(self, *args, **kwargs) -> None:
        """Show a picture in a window, as mmengine's visualizer does.

        Args:
            *args: As there.
            **kwargs: As there.

        Raises:
            ValueError: If there is no display: the window would be waited for forever.
        """
        if plt.get_backend().lower() == 'agg':
            raise ValueError(
                'there is no display to show pictures on: have them written to a folder instead '
                '(--show-dir of tools/test.py, --out-dir of the demo)'
            )
        super().show(*args, **kwargs)

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: GroundingDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
    ) -> None:
        """Draw a data sample; show the picture, write it, or hand it to the back ends.

        Args:
            name: Title of the window and name of the picture in the back ends.
            image: The original image, RGB, (H, W, 3) uint8.
            data_sample: Its ``text``, ``phrases``, and what of ``gt_regions`` with
                ``links``, of ``pred_phrases`` and of ``pred_panoptic`` is to be drawn.
            draw_gt: Draw the ground truth, where the sample has it.
            draw_pred: Draw the prediction, where the sample has it.
            show: Show the picture in a window.
            wait_time: Seconds for which it is shown; 0 waits for a key.
            out_file: Write the picture to this file, not to the back ends.
            step: Step under which the back ends store it.
        """
        picture = self.draw(image, data_sample, draw_gt, draw_pred)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(picture[..., ::-1], out_file)
        else:
            self.add_image(name, picture, step)

    def draw(
        self,
        image: np.ndarray,
        data_sample: GroundingDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        notes: Mapping[int, str] | None = None,
    ) -> np.ndarray:
        """The picture of a data sample, see :meth:`add_datasample`.

        Args:
            image: See :meth:`add_datasample`.
            data_sample: See :meth:`add_datasample`.
            draw_gt: See :meth:`add_datasample`.
            draw_pred: See :meth:`add_datasample`.
            notes: By index of a phrase a remark that follows it in the text, such as
                its score.

        Returns:
            RGB, uint8, (height, width, 3). Its size follows from the image's and the
            length of the text.

        Raises:
            ValueError: If the image is no RGB uint8 array, or masks or boxes do not
                fit the image or the number of phrases.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f'an image to draw on must be RGB, (H, W, 3) uint8, got {image.dtype} '
                f'{tuple(image.shape)}'
            )
        phrases = data_sample.phrases
        groundings: list[PhrasePanel] = []
        if draw_gt and 'gt_regions' in data_sample and 'links' in data_sample:
            groundings.append(
                _from_regions(
                    data_sample.gt_regions,
                    data_sample.links,
                    len(phrases),
                    boxes_too=_is_expression(data_sample) and not _finds_masks_alone(data_sample),
                )
            )
        if draw_pred and 'pred_phrases' in data_sample:
            groundings.append(_from_predictions(data_sample.pred_phrases))
        # The caption tells what was found; what the merge took away shows in its own panel.
        missing = groundings[-1].missing() if groundings else ()
        if draw_pred and 'pred_panoptic' in data_sample:
            groundings.append(_from_panoptic(data_sample.pred_panoptic, len(phrases)))
        titled = len(groundings) > 1
        return self.draw_panels(image, data_sample, groundings, missing, notes, titled)

    def draw_panels(
        self,
        image: np.ndarray,
        data_sample: GroundingDataSample,
        panels: Sequence[PhrasePanel],
        missing: Collection[int] = (),
        notes: Mapping[int, str] | None = None,
        titled: bool = True,
    ) -> np.ndarray:
        """Draw panels side by side, and the text with its phrases below.

        Args:
            image: See :meth:`add_datasample`.
            data_sample: Of which text and phrases are read.
            panels: What is drawn; without any, the image itself.
            missing: Indices of phrases that the text shows as referring to nothing.
            notes: See :meth:`draw`.
            titled: Whether the panels' titles are drawn.

        Returns:
            See :meth:`draw`.

        Raises:
            ValueError: See :meth:`draw`.
        """
        phrases = data_sample.phrases
        for panel in panels:
            _check(panel, image.shape[:2], len(phrases), data_sample.get('sample_id'))
        height, width = image.shape[:2]
        longer = max(height, width)
        scale = np.clip(longer, self.min_side, self.max_side) / longer
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        font_size = max(round(max(size) / 38), 14)
        drawn = [self._panel(image, panel, size, font_size) for panel in panels]
        if not drawn:
            drawn = [Image.fromarray(_resize_image(image, size))]
        titles = [panel.title for panel in panels] if titled else []
        return self._page(drawn, titles, data_sample.text, phrases, missing, font_size, notes)

    def _page(
        self,
        panels: Sequence[Image.Image],
        titles: Sequence[str],
        text: str,
        phrases: Sequence[dict],
        missing,
        font_size: int,
        notes: Mapping[int, str] | None,
    ) -> np.ndarray:
        """Panels in a row, titles above, text below."""
        gap = round(font_size * 0.6)
        row_width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
        # Below an upright, narrow image the text still gets room for a few words.
        width = max(row_width, font_size * 24)
        caption = render_caption(text, phrases, width, font_size, missing, self.font_file, notes)
        top = round(font_size * 1.9) if titles else 0
        page = Image.new('RGB', (width, top + panels[0].height + caption.height), _BACKGROUND)
        left = (width - row_width) // 2
        for index, panel in enumerate(panels):
            if titles:
                ImageDraw.Draw(page).text(
                    (left + panel.width / 2, top / 2),
                    titles[index],
                    (30, 30, 30),
                    load_font(font_size, self.font_file),
                    anchor='mm',
                )
            page.paste(panel, (left, top))
            left += panel.width + gap
        page.paste(caption, (0, top + panels[0].height))
        return np.asarray(page)

    def _panel(
        self, image: np.ndarray, grounding: PhrasePanel, size: tuple[int, int], font_size: int
    ) -> Image.Image:
        """The image in a size (width, height) with masks, boxes and numbers on it."""
        scale = np.array([size[0] / image.shape[1], size[1] / image.shape[0]])
        canvas = _resize_image(image, size)
        line_width = max(round(max(size) / 400), 1)
        masks, number_places = [], []
        if grounding.masks is not None:
            masks = [_resize_mask(mask, size) for mask in grounding.masks]
            canvas = _blend(canvas, masks, self.alpha)
            number_places = [
                (phrase, center) for phrase, mask in enumerate(masks) for center in _centers(mask)
            ]
            # Large regions first: the outline of a small one stays visible.
            for phrase in np.argsort([-mask.sum() for mask in masks], kind='stable'):
                _draw_outline(canvas, masks[phrase], phrase_color(phrase), line_width)
        for phrase, boxes in enumerate(grounding.dashed or ()):
            for box in boxes * np.tile(scale, 2):
                _draw_dashed_box(canvas, box, phrase_color(phrase), line_width)
        for phrase, boxes in enumerate(grounding.boxes or ()):
            for box in boxes * np.tile(scale, 2):
                _draw_box(canvas, box, phrase_color(phrase), line_width)
                if grounding.edges is not None:
                    number_places.append((phrase, tuple((box[:2] + box[2:]) / 2)))
                elif grounding.masks is None:
                    number_places.append((phrase, tuple(box[:2])))
        for phrase, points in enumerate(grounding.points or ()):
            for point in points * scale:
                _draw_point(canvas, point, phrase_color(phrase), line_width)
        panel = Image.fromarray(canvas)
        font = load_font(round(font_size * 0.8), self.font_file)
        numbers, taken = [], []
        for phrase, center in number_places:
            width, height = badge_size(str(phrase + 1), font)
            if grounding.edges is not None:
                # Phrases often share a box, and arrows between them need room.
                width, height = 4 * width, 4 * height
            x, y = _free_place(center, (width, height), panel.size, taken)
            taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
            numbers.append((phrase, (x, y)))
        if grounding.edges is not None:
            for (phrase, place), (_, center) in zip(numbers, number_places, strict=True):
                draw_leader(panel, center, place, phrase_color(phrase), max(line_width // 2, 1))
            small = load_font(max(round(font_size * 0.65), 8), self.font_file)
            draw_edges(panel, dict(numbers), grounding.edges, line_width, small, 2.4 * font.size)
        for phrase, place in numbers:
            draw_badge(panel, place, str(phrase + 1), phrase_color(phrase), font)
        return panel


def _is_expression(sample: GroundingDataSample) -> bool:
    """Whether the whole text is the only phrase."""
    phrases, text = sample.phrases, sample.text
    return len(phrases) == 1 and tuple(phrases[0]['span']) == (0, len(text))


def _finds_masks_alone(sample: GroundingDataSample) -> bool:
    """Whether the system predicts masks and no boxes."""
    predicted = sample.get('pred_phrases', ())
    return 'masks' in predicted and 'bboxes' not in predicted


def _from_regions(
    regions: InstanceData, links: Tensor, num_phrases: int, boxes_too: bool
) -> PhrasePanel:
    """Ground truth by phrase: union of the masks of its regions, and all their boxes where there
    are no masks, or with ``boxes_too`` beside them."""
    links = links.cpu().numpy()
    of_phrase = [links[links[:, 0] == phrase, 1] for phrase in range(num_phrases)]
    masks = boxes = None
    if 'masks' in regions:
        region_masks = _to_numpy(regions.masks).astype(bool)
        masks = np.zeros((num_phrases, *region_masks.shape[1:]), bool)
        for phrase, members in enumerate(of_phrase):
            masks[phrase] = region_masks[members].any(0)
    if 'bboxes' in regions and (boxes_too or masks is None):
        region_boxes = _to_numpy(regions.bboxes)
        boxes = [region_boxes[members] for members in of_phrase]
    return PhrasePanel('Ground truth', masks, boxes)


def _from_predictions(predictions: InstanceData) -> PhrasePanel:
    masks = boxes = None
    if 'masks' in predictions:
        masks = _to_numpy(predictions.masks).astype(bool)
    if 'bboxes' in predictions:
        boxes = [box[None] for box in _to_numpy(predictions.bboxes).astype(float)]
    points = None
    if masks is None and boxes is None:
        names = sorted(name for name, _ in predictions.items() if name.startswith('points_'))
        if names:
            # A phrase has a point for each task.
            own = [_to_numpy(predictions[name]).astype(float) for name in names]
            points = list(np.stack(own, 1))
    return PhrasePanel('Prediction', masks, boxes, points)


def _from_panoptic(panoptic: BaseDataElement, num_phrases: int) -> PhrasePanel:
    masks = segment_phrase_masks(panoptic.segment_map, panoptic.segments, num_phrases)
    return PhrasePanel('Panoptic segmentation', _to_numpy(masks), None)


def _to_numpy(value: Tensor | np.ndarray) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _check(grounding: PhrasePanel, shape: tuple[int, int], num_phrases: int, sample_id) -> None:
    where = f'{grounding.title.lower()} of sample {sample_id!r}'
    masks, boxes, points = grounding.masks, grounding.boxes, grounding.points
    if masks is None and boxes is None and points is None:
        raise ValueError(f'the {where} has no masks, bboxes or points to draw')
    if masks is not None and masks.shape != (num_phrases, *shape):
        raise ValueError(
            f'the {where} has masks of shape {masks.shape}; to draw, they must be '
            f'{(num_phrases, *shape)}: one per phrase, in the size of the original image'
        )
    for name, own in (('boxes', boxes), ('dashed boxes', grounding.dashed), ('points', points)):
        if own is not None and len(own) != num_phrases:
            raise ValueError(f'the {where} has {len(own)} {name} for {num_phrases} phrases')
    if grounding.edges is not None and grounding.edges.shape != (num_phrases, num_phrases):
        raise ValueError(
            f'the {where} has edges of shape {grounding.edges.shape} for {num_phrases} phrases'
        )


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (image.shape[1], image.shape[0]) == size:
        return image.copy()
    enlarged = size[0] > image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA)


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    enlarged = size[0] > mask.shape[1]
    method = cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA
    share = cv2.resize(mask.astype(np.float32), size, interpolation=method)
    resized = share >= 0.5
    # A region thinner than a pixel of the panel is still shown.
    return resized if resized.any() else share > 0


def _blend(image: np.ndarray, masks: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Colour the masks; where several overlap, with the mean of their colours."""
    color = np.zeros(image.shape, np.float32)
    count = np.zeros((*image.shape[:2], 1), np.float32)
    for phrase, mask in enumerate(masks):
        color[mask] += phrase_color(phrase)
        count[mask] += 1
    mixed = image * (1 - alpha) + color / np.maximum(count, 1) * alpha
    return np.where(count > 0, mixed, image).round().astype(np.uint8)


def _draw_outline(
    canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], line_width: int
) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # A wider white line below keeps the outline visible on a ground of its colour.
    cv2.drawContours(canvas, contours, -1, (255, 255, 255), line_width + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, color, line_width, cv2.LINE_AA)


def _draw_box(
    canvas: np.ndarray, box: np.ndarray, color: tuple[int, int, int], line_width: int
) -> None:
    left, top, right, bottom = (int(value) for value in box.round())
    corners = (left, top), (max(right - 1, left), max(bottom - 1, top))
    cv2.rectangle(canvas, *corners, (255, 255, 255), line_width * 2 + 1)
    cv2.rectangle(canvas, *corners, color, line_width + 1)


def _draw_dashed_box(
    canvas: np.ndarray, box: np.ndarray, color: tuple[int, int, int], line_width: int
) -> None:
    left, top, right, bottom = (int(value) for value in box.round())
    right, bottom = max(right - 1, left), max(bottom - 1, top)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    dash = 6 * line_width + 2
    for paint, width in (((255, 255, 255), line_width * 2 + 1), (color, line_width + 1)):
        for start, end in pairwise(np.array(corners, float)):
            length = np.abs(end - start).sum()
            for at in np.arange(0, length, 2 * dash):
                ends = (at, min(at + dash, length))
                one, two = (start + (end - start) * place / max(length, 1) for place in ends)
                points = (tuple(int(value) for value in own.round()) for own in (one, two))
                cv2.line(canvas, *points, paint, width)


def _draw_point(
    canvas: np.ndarray, point: np.ndarray, color: tuple[int, int, int], line_width: int
) -> None:
    center, radius = tuple(int(value) for value in point), 4 * line_width + 2
    cv2.circle(canvas, center, radius + line_width + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
    cv2.circle(canvas, center, radius, color, cv2.FILLED, cv2.LINE_AA)


def _centers(mask: np.ndarray, max_parts: int = 6) -> list[tuple[float, float]]:
    """A point well inside each large connected part of a mask, xy; the largest first.

    A part counts as large from a tenth of the largest on.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:count, cv2.CC_STAT_AREA]
    centers = []
    for index in np.argsort(-areas, kind='stable')[:max_parts]:
        if areas[index] < 0.1 * areas.max():
            break
        left, top, width, height = stats[index + 1, :4]
        part = labels[top : top + height, left : left + width] == index + 1
        # Padded, because the border of the picture bounds a region as well.
        depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 3)
        # Of the points about as deep, the one nearest to the middle of the part.
        ys, xs = np.nonzero(depth >= 0.95 * depth.max())
        middle_y, middle_x = (height + 1) / 2, (width + 1) / 2
        best = np.argmin((ys - middle_y) ** 2 + (xs - middle_x) ** 2)
        y, x = ys[best], xs[best]
        centers.append((float(left + x - 0.5), float(top + y - 0.5)))
    return centers


def _free_place(center, size, panel_size, taken) -> tuple[float, float]:
    """Where a number goes: its place, or the nearest one around it that is free.

    Args:
        center: Wanted place, xy.
        size: Width and height of the number's badge.
        panel_size: Width and height of the picture, which the badge does not leave.
        taken: Boxes, xyxy, that other badges cover.
    """
    offsets = [(i, j) for i in range(-4, 5) for j in range(-4, 5)]
    offsets.sort(key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, -offset[0], -offset[1]))
    half = np.array(size) / 2
    upper = np.maximum(np.array(panel_size) - half, half)
    first = None
    for offset in offsets:
        place = np.clip(np.array(center) + np.array(offset) * np.array(size) * 1.05, half, upper)
        first = place if first is None else first
        low, high = place - half, place + half
        if all(
            high[0] <= box[0] or box[2] <= low[0] or high[1] <= box[1] or box[3] <= low[1]
            for box in taken
        ):
            return float(place[0]), float(place[1])
    return float(first[0]), float(first[1])
