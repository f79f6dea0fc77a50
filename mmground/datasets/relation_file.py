"""The file of relations between the phrases of captions."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Relation = tuple[int, int, list[int]]
"""Subject, object (marked phrases of the caption, from 0) and predicates."""


@dataclass
class RelationFile:
    """Which phrases of captions are related, and how.

    On disk it is a JSON object: ``info``, ``predicates`` (names), ``counts`` (how many pairs of
    phrases each holds between in the training captions) and ``relations``, by image a list with,
    for each caption, a list of ``[subject, object, [predicates], words]``. A pair may come several
    times, with different words.

    Args:
        predicates: Names of the relations that are told apart.
        counts: Of how many pairs of phrases each is in training.
        relations: By image and caption.
        info: Where it comes from; ``keep`` tells between which phrases predicates were counted, see
            :class:`Flickr30kEntitiesDataset`.
        path: Its file, for errors.
    """

    predicates: list[str]
    counts: list[int]
    relations: dict[str, list[list[list]]]
    info: dict = field(default_factory=dict)
    path: str = ''

    @classmethod
    def load(cls, path: str) -> 'RelationFile':
        """Read a file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else.
        """
        remedy = 'write it anew with tools/dataset_converters/parse_relations.py'
        try:
            content = json.loads(Path(path).read_text(encoding='utf-8'))
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{path}: the relations do not exist; {remedy}') from error
        except ValueError as error:
            raise ValueError(f'{path}: not valid JSON ({error}); {remedy}') from error
        kinds = dict(predicates=list, counts=list, relations=dict)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError(f'{path}: expected an object with {list(kinds)}; {remedy}')
        if not isinstance(content.setdefault('info', {}), dict):
            raise ValueError(f'{path}: info is not an object; {remedy}')
        if len(content['predicates']) != len(content['counts']):
            raise ValueError(
                f'{path}: there are {len(content["predicates"])} predicates and '
                f'{len(content["counts"])} counts; {remedy}'
            )
        return cls(**{key: content[key] for key in (*kinds, 'info')}, path=path)

    def save(self, path: str) -> None:
        """Write the file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        content = dict(
            info=self.info,
            predicates=self.predicates,
            counts=self.counts,
            relations=self.relations,
        )
        Path(path).write_text(json.dumps(content), encoding='utf-8')

    def of(self, img_id: str, caption: int, num_phrases: int) -> list[Relation]:
        """The relations of a caption.

        Args:
            img_id: Its image.
            caption: Its number, from 0.
            num_phrases: How many marked phrases it has.

        Returns:
            One for each pair of subject and object, see :func:`merge_relations`.

        Raises:
            ValueError: If the file lacks the caption, or an entry is malformed.
        """
        captions = self.relations.get(img_id)
        if not isinstance(captions, list) or caption >= len(captions):
            raise ValueError(
                f'{self.path}: there are no relations of caption {caption} of image {img_id}; '
                'parse the captions of all splits with tools/dataset_converters/parse_relations.py'
            )
        found = []
        for entry in captions[caption]:
            try:
                subject, object_, predicates = entry[:3]
                valid = (
                    all(type(i) is int for i in (subject, object_, *predicates))
                    and subject != object_
                    and min(subject, object_) >= 0
                    and max(subject, object_) < num_phrases
                    and all(0 <= i < len(self.predicates) for i in predicates)
                )
            except (TypeError, ValueError):
                valid = False
            if not valid:
                raise ValueError(
                    f'{self.path}: relation {entry} of caption {caption} of image {img_id} is '
                    f'malformed: expected [subject, object, [predicates], words] with two of the '
                    f'{num_phrases} phrases and some of the {len(self.predicates)} predicates; '
                    'parse these captions anew'
                )
            found.append((subject, object_, list(predicates)))
        return merge_relations(found)


def merge_relations(relations: Iterable[Sequence]) -> list[Relation]:
    """Put the relations of a caption together that are between the same subject and object.

    A pair is one example for a classifier, all of whose predicates are true: in several, each would
    deny what another says.

    Args:
        relations: ``(subject, object, predicates, ...)``.

    Returns:
        Each pair once, with all of its predicates, each once, in their order.

    Example:
        >>> merge_relations([(0, 1, [3]), (1, 0, []), (0, 1, [2, 3])])
        [(0, 1, [3, 2]), (1, 0, [])]
    """
    merged: dict[tuple[int, int], dict[int, None]] = {}
    for subject, object_, predicates, *_ in relations:
        merged.setdefault((subject, object_), {}).update(dict.fromkeys(predicates))
    return [(*pair, list(predicates)) for pair, predicates in merged.items()]


def count_predicates(captions: Iterable[Iterable[Sequence]], num_predicates: int) -> list[int]:
    """How many pairs of phrases each predicate holds between.

    Args:
        captions: The relations of each, ``(subject, object, predicates, ...)``.
        num_predicates: How many there are.
    """
    counts = [0] * num_predicates
    for relations in captions:
        for _, _, predicates in merge_relations(relations):
            for predicate in predicates:
                counts[predicate] += 1
    return counts
