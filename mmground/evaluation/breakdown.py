"""Where a system is good and where it is not: scores by kind of phrase, and single cases."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmground.evaluation.functional import (
    average_recall,
    length_groups,
    recall_areas,
    recall_at,
    size_groups,
)
from mmground.structures import GroundingDataSample, last_regions, phrase_masks

from .dumped_results import DumpedResults
from .metrics import PhraseGroundingMetric, PNGMetric, ReferringMetric
from .scored_expressions import ScoredExpressions, scored_expressions


@dataclass
class ScoredSamples:
    """Phrases and their IoUs, one element per phrase, in the order of the samples.

    Args:
        sample_ids: The samples, S of them.
        sample: Index of each phrase's sample. Shape (N, ).
        texts: The phrases.
        ious: IoU under one protocol, NaN for an empty prediction of an empty target that does not
            count as a hit. Shape (N, ).
    """

    sample_ids: list[str]
    sample: np.ndarray
    texts: list[str]
    ious: np.ndarray

    def of_sample(self, index: int) -> np.ndarray:
        """Indices of the phrases of a sample."""
        return np.flatnonzero(self.sample == index)

    def sample_scores(self) -> np.ndarray:
        """Mean IoU of each sample's phrases, a NaN as 0. Shape (S, )."""
        totals = np.bincount(self.sample, np.nan_to_num(self.ious), len(self.sample_ids))
        return totals / np.bincount(self.sample, minlength=len(self.sample_ids))

    def unit_scores(self) -> dict[str, np.ndarray]:
        """What measures are the means of, by their names.

        Returns:
            In [0, 1] for each phrase, NaN for one that does not count. Shapes (N, ).
        """
        raise NotImplementedError


@dataclass
class ScoredPhrases(ScoredSamples):
    """Phrases of panoptic narrative grounding, scored by :class:`PNGMetric`.

    Args:
        areas: Pixels of the phrase's regions, united, in the original image. Shape (N, ).
        is_plural: Phrases of several regions. Shape (N, ).
        is_thing: Phrases whose last region is a thing. Shape (N, ).
        categories: Category id of the last region, or None where the results have no
            categories. Shape (N, ).
    """

    areas: np.ndarray
    is_plural: np.ndarray
    is_thing: np.ndarray
    categories: np.ndarray | None

    def unit_scores(self) -> dict[str, np.ndarray]:
        return {'AR': recall_areas(self.ious), 'recall@0.5': (self.ious > 0.5).astype(float)}


@dataclass
class ScoredReferring(ScoredSamples):
    """Referring expressions, scored by :class:`ReferringMetric`; IoUs are those of the masks, or of
    the boxes where no masks are predicted.

    Args:
        expressions: All scores.
    """

    expressions: ScoredExpressions

    def unit_scores(self) -> dict[str, np.ndarray]:
        scores, own = {}, self.expressions
        if own.box_ious is not None:
            scores['Acc@0.5'] = own.box_ious >= 0.5
        if own.mask_ious is not None:
            scores['mIoU'] = own.mask_ious
            scores['Pr@0.5'] = own.mask_ious >= 0.5
            scores['Pr@0.9'] = own.mask_ious >= 0.9
        return {name: np.where(own.has_target, each, np.nan) for name, each in scores.items()}


@dataclass
class ScoredBoxes(ScoredSamples):
    """Phrases of captions, scored by :class:`PhraseGroundingMetric`; IoUs are those of the boxes,
    NaN for a phrase without a true one.

    Args:
        centre_hits: Whether the centre of the box is in the true one. Shape (N, ).
    """

    centre_hits: np.ndarray

    def unit_scores(self) -> dict[str, np.ndarray]:
        scores = {'Acc@0.5': self.ious >= 0.5, 'mIoU': self.ious, 'PointIt': self.centre_hits}
        return {name: np.where(np.isnan(self.ious), np.nan, each) for name, each in scores.items()}


def score_phrases(results: DumpedResults, protocol: str = 'original') -> ScoredPhrases:
    """Score every phrase of a results file.

    Args:
        results: The file. A sample that it holds twice counts once.
        protocol: A protocol of :class:`PNGMetric`.

    Raises:
        KeyError: If a sample lacks annotations or what the protocol scores.
        ValueError: If the file is damaged or holds no sample.
    """
    metric = PNGMetric(protocol)
    sample_ids, texts, areas, categories = [], [], [], []
    for sample in _each_once(results):
        sample_ids.append(sample.sample_id)
        metric.process(None, [sample.to_dict()])
        texts += [phrase['text'] for phrase in sample.phrases]
        areas.append(_areas(sample))
        if 'category_ids' in sample.gt_regions:
            last = last_regions(sample.links, len(sample.phrases))
            categories.append(sample.gt_regions.category_ids[last].numpy())
    scored = metric.results
    return ScoredPhrases(
        sample_ids,
        np.repeat(np.arange(len(scored)), [len(result['is_plural']) for result in scored]),
        texts,
        np.concatenate([result['ious'][protocol] for result in scored]),
        np.concatenate(areas),
        np.concatenate([result['is_plural'] for result in scored]),
        np.concatenate([result['is_thing'] for result in scored]),
        np.concatenate(categories) if len(categories) == len(scored) else None,
    )


def score_expressions(results: DumpedResults, protocol: str = 'original') -> ScoredReferring:
    """Score every referring expression of a results file.

    Args:
        results: The file. A sample that it holds twice counts once.
        protocol: A protocol of :class:`ReferringMetric`.

    Raises:
        KeyError: If a sample lacks annotations or predictions.
        ValueError: If the file is damaged or holds no sample.
    """
    metric = ReferringMetric(protocol)
    for sample in _each_once(results):
        metric.process(None, [sample.to_dict()])
    expressions = scored_expressions(metric.results, protocol)
    ious = expressions.box_ious if expressions.mask_ious is None else expressions.mask_ious
    if ious is None:
        raise KeyError(
            f'{results.path}: the model predicted points, but no boxes or masks to analyze: it has '
            'no localisers'
        )
    return ScoredReferring(
        [result['sample_id'] for result in metric.results],
        np.repeat(
            np.arange(len(metric.results)), [len(result['texts']) for result in metric.results]
        ),
        expressions.texts.tolist(),
        ious,
        expressions,
    )


def score_boxes(results: DumpedResults, target: str = 'union') -> ScoredBoxes:
    """Score the box of every phrase of a results file.

    Args:
        results: The file. A sample that it holds twice counts once.
        target: See :class:`PhraseGroundingMetric`.

    Raises:
        KeyError: If a sample lacks annotations or predicted boxes.
        ValueError: If the file is damaged or holds no sample.
    """
    metric = PhraseGroundingMetric(target)
    texts = {}
    for sample in _each_once(results):
        texts[sample.sample_id] = [phrase['text'] for phrase in sample.phrases]
        metric.process(None, [sample.to_dict()])
    ious, hits, has_box = (
        np.concatenate(values)
        for values in zip(
            *(
                (result['scores']['iou'], result['scores']['PointIt'], result['has_box'])
                for result in metric.results
            ),
            strict=True,
        )
    )
    return ScoredBoxes(
        list(texts),
        np.repeat(np.arange(len(texts)), [len(own) for own in texts.values()]),
        [text for own in texts.values() for text in own],
        np.where(has_box, ious, np.nan),
        hits,
    )


def _each_once(results: DumpedResults) -> Iterator[GroundingDataSample]:
    """The samples of a file, of which there must be one; the first of those with one id."""
    seen = set()
    for sample in results:
        if sample.sample_id not in seen:
            seen.add(sample.sample_id)
            yield sample
    if not seen:
        raise ValueError(f'{results.path}: there is no sample to analyze')


def _areas(sample: GroundingDataSample) -> np.ndarray:
    masks = phrase_masks(sample.gt_regions.masks, sample.links, len(sample.phrases))
    return masks.flatten(1).sum(1).numpy()


def breakdown(phrases: ScoredPhrases, category_names: dict[int, str]) -> dict[str, dict]:
    """Average recall by kind of phrase.

    Sizes are COCO's: a small phrase has less than 32 x 32 pixels in the original image, a
    large one 96 x 96 or more. The length of a phrase is its number of words between white
    space. A phrase is of the category of its last region.

    Args:
        phrases: The scored phrases.
        category_names: Names by category id.

    Returns:
        ``all``, ``number`` (singulars, plurals), ``kind`` (things, stuff), ``size``,
        ``words`` and, where known, ``category``: dicts of groups. A group is a dict of
        ``num_phrases``, ``AR`` and ``recall@0.5``, both in percent. Groups without a phrase
        are left out.
    """
    groups = {
        'all': {'all': np.ones(len(phrases.texts), dtype=bool)},
        'number': {'singulars': ~phrases.is_plural, 'plurals': phrases.is_plural},
        'kind': {'things': phrases.is_thing, 'stuff': ~phrases.is_thing},
        'size': size_groups(phrases.areas),
        'words': length_groups(phrases.texts, starts=range(1, 7)),
    }
    if phrases.categories is not None:
        groups['category'] = {
            category_names.get(int(category), f'category {category}'): phrases.categories
            == category
            for category in np.unique(phrases.categories)
        }
    return {
        kind: {
            name: {
                'num_phrases': int(members.sum()),
                'AR': 100 * average_recall(phrases.ious[members]),
                'recall@0.5': 100 * recall_at(phrases.ious[members], 0.5),
            }
            for name, members in by_name.items()
            if members.any()
        }
        for kind, by_name in groups.items()
    }


def referring_breakdown(scored: ScoredReferring) -> dict[str, dict]:
    """Accuracy by kind of referring expression.

    Args:
        scored: The scored expressions.

    Returns:
        ``all``, ``split`` (where known) and what :meth:`ScoredExpressions.breakdown` tells apart:
        dicts of groups, as there.
    """
    expressions = scored.expressions
    groups = {'all': {'all': expressions.summary()}}
    if splits := expressions.by_split():
        groups['split'] = {name: own.summary() for name, own in splits.items()}
    return groups | expressions.breakdown()


def extreme_samples(phrases: ScoredSamples, count: int) -> tuple[list[int], list[int]]:
    """The samples of the lowest and of the highest mean IoU.

    Args:
        phrases: The scored phrases.
        count: How many of each.

    Returns:
        Indices of samples: the worst first, and the best first. No sample is in both.
    """
    order = np.argsort(phrases.sample_scores(), kind='stable')
    worst = order[:count]
    best = order[::-1][: min(count, len(order) - len(worst))]
    return worst.tolist(), best.tolist()
