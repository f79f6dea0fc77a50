"""Predictions for the tiny panoptic narrative grounding data set, without a model."""

from pathlib import Path

import torch
from data_factory import write_png_dataset
from mmengine.structures import InstanceData

from mmground.datasets import PNGDataset
from mmground.evaluation import DumpGroundingResults
from mmground.structures import GroundingDataSample, phrase_masks
from mmground.utils import register_all_modules

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True, backend='pillow'),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


def predicted_samples(root: Path) -> tuple[list[GroundingDataSample], PNGDataset]:
    """Six samples with predictions from perfect to empty, and their data set."""
    register_all_modules()
    root.mkdir(parents=True, exist_ok=True)
    dataset = PNGDataset(**write_png_dataset(root), pipeline=PIPELINE, test_mode=True)
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        sample.set_metainfo(dict(geometry=sample.geometry.on_canvas((64, 64))))
        targets = phrase_masks(sample.gt_regions.masks, sample.links, len(sample.phrases))
        masks = targets.clone()
        if index:
            masks &= torch.rand(targets.shape, generator=generator) > index / 5
        probs = torch.rand(len(targets), 16, 16, generator=generator)
        sample.pred_phrases = InstanceData(
            masks=masks,
            scores=torch.rand(len(targets), generator=generator),
            dropped=~masks.flatten(1).any(1),
            grid_probs=probs,
        )
        samples.append(sample)
    return samples, dataset


def write_result_file(root: Path, name: str = 'results.jsonl.gz') -> str:
    """A results file of :func:`predicted_samples`; returns its path."""
    samples, dataset = predicted_samples(root)
    metric = DumpGroundingResults(str(root / name))
    metric.dataset_meta = dataset.metainfo
    metric.process(None, [sample.to_dict() for sample in samples])
    metric.evaluate(len(samples))
    return str(root / name)
