"""Data samples of referring expressions with predictions, without a data set or a model."""

import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmground.evaluation import DumpGroundingResults
from mmground.structures import Geometry, GroundingDataSample


def rectangle(box, shape):
    """The mask of an xyxy box of whole pixels."""
    mask = torch.zeros(shape, dtype=torch.bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = True
    return mask


def referring_sample(
    sample_id='a',
    regions=((4, 2, 14, 12),),
    predicted=(4, 2, 14, 12),
    shape=(24, 32),
    text='a cat',
    type_='',
    **metainfo,
):
    """One expression about rectangles (none of them: without a target), on a 64 x 64 canvas.

    ``predicted`` is box and mask at once; None is the empty box and mask.
    """
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=sample_id,
            img_id='1',
            img_path='1.jpg',
            text=text,
            phrases=[dict(text=text, span=(0, len(text)), type=type_)],
            ori_shape=shape,
            geometry=Geometry(
                shape,
                (round(64 * shape[0] / max(shape)), round(64 * shape[1] / max(shape))),
                canvas_shape=(64, 64),
            ),
            **metainfo,
        )
    )
    empty = torch.zeros(0, *shape, dtype=torch.bool)
    sample.gt_regions = InstanceData(
        bboxes=torch.tensor(regions, dtype=torch.float32).reshape(-1, 4),
        masks=torch.stack([rectangle(box, shape) for box in regions]) if regions else empty,
    )
    sample.links = torch.tensor([(0, i) for i in range(len(regions))]).reshape(-1, 2).long()
    predicted = predicted or (0, 0, 0, 0)
    sample.pred_phrases = InstanceData(
        bboxes=torch.tensor([predicted], dtype=torch.float32),
        masks=rectangle(predicted, shape)[None],
        scores=torch.tensor([0.5]),
    )
    return sample


def write_referring_results(root, name='results.jsonl.gz'):
    """Five samples of two splits with their image, dumped; returns samples and path."""
    root.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (32, 24), (90, 120, 60)).save(root / '1.jpg')
    samples = [
        referring_sample('a', type_='size', dataset='refcoco', split='val'),
        referring_sample('b', predicted=(4, 2, 9, 12), dataset='refcoco', split='val'),
        referring_sample(
            'c',
            predicted=(20, 2, 30, 12),
            text='the cat to the left of it',
            type_='relation',
            dataset='refcoco',
            split='testA',
        ),
        referring_sample('d', ((4, 2, 14, 12), (20, 2, 30, 12)), dataset='refcoco', split='testA'),
        referring_sample('e', (), None, dataset='refcoco', split='testA'),
    ]
    for sample in samples:
        sample.set_metainfo(dict(img_path=str(root / '1.jpg')))
        boxes = sample.geometry.boxes(sample.pred_phrases.bboxes)
        sample.pred_phrases.canvas_bboxes = boxes + torch.tensor([0.0, 0.0, 2.5, 0.0])
        sample.pred_phrases.point_hit = sample.pred_phrases.masks[:, 5, 5]
    metric = DumpGroundingResults(str(root / name))
    metric.process(None, [sample.to_dict() for sample in samples])
    metric.evaluate(len(samples))
    return samples, str(root / name)
