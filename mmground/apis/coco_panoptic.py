"""A panoptic segmentation by phrases in the format of COCO's panoptic annotations."""

from pathlib import Path

import numpy as np

from mmground.structures import GroundingDataSample, encode_segment_ids
from mmground.visualization.palette import phrase_color

CATEGORY = dict(id=1, name='phrase', supercategory='phrase', isthing=1)
"""The one category: phrases are free text, and nothing tells things from stuff."""


def coco_panoptic(sample: GroundingDataSample) -> tuple[np.ndarray, dict]:
    """What is written to a PNG and a JSON file for one text.

    The id of a segment is the colour in which pictures draw its first phrase, or the next
    free one: the PNG, in which a pixel's colour is its id (``R + 256 G + 65536 B``), can be
    looked at beside them. Pixels of no segment are black.

    Args:
        sample: A data sample with ``pred_panoptic``.

    Returns:
        - RGB, uint8, (H, W, 3), the PNG.
        - The content of the JSON file: ``images``, ``annotations`` and ``categories`` as COCO
          has them, of one image. The annotation's ``file_name`` is ``<sample_id>.png``. Beyond
          COCO, it has ``text`` and, for each entry of ``segments_info``, ``score`` and
          ``phrases``, dicts of ``index``, ``text`` and ``span``; ``phrases_without_segment``
          lists the others. Boxes are (x, y, width, height).
    """
    segment_map = sample.pred_panoptic.segment_map.cpu().numpy()
    segments = sample.pred_panoptic.segments
    # COCO's id of each segment by its number in the map, in which 0 is no segment.
    ids = np.zeros(len(segments) + 1, np.int64)
    infos = []
    for segment in segments:
        ids[segment['id']] = _unused_id(phrase_color(segment['phrases'][0]), ids)
        x1, y1, x2, y2 = segment['bbox']
        infos.append(
            dict(
                id=int(ids[segment['id']]),
                category_id=CATEGORY['id'],
                iscrowd=0,
                area=segment['area'],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=segment['score'],
                phrases=[_phrase(sample, index) for index in segment['phrases']],
            )
        )
    placed = {index for segment in segments for index in segment['phrases']}
    height, width = (int(side) for side in sample.ori_shape)
    file_name = None if sample.img_path is None else Path(sample.img_path).name
    annotation = dict(
        image_id=sample.img_id,
        file_name=f'{sample.sample_id}.png',
        text=sample.text,
        segments_info=infos,
        phrases_without_segment=[
            _phrase(sample, index) for index in range(len(sample.phrases)) if index not in placed
        ],
    )
    content = dict(
        images=[dict(id=sample.img_id, file_name=file_name, height=height, width=width)],
        annotations=[annotation],
        categories=[dict(CATEGORY)],
    )
    return encode_segment_ids(ids[segment_map]), content


def _unused_id(color: tuple[int, int, int], taken: np.ndarray) -> int:
    red, green, blue = color
    segment_id = red + 256 * green + 65536 * blue
    while segment_id in taken:
        segment_id = (segment_id + 1) % 2**24
    return segment_id


def _phrase(sample: GroundingDataSample, index: int) -> dict:
    phrase = sample.phrases[index]
    return dict(index=index, text=phrase['text'], span=[int(place) for place in phrase['span']])
