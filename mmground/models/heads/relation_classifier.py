from pathlib import Path

from torch import nn

from mmground.datasets.relation_file import RelationFile

from ..text_encoders.word_vocabulary import fit_rows


class RelationClassifier(nn.Sequential):
    """F_rel: tells from what two phrases attend to how they are related (Eq. 16 of ReIR).

    It takes both features one behind the other, (E, 2 C), and returns logits, (E, C_r).

    Args:
        channels: C, of what a phrase attends to.
        num_relations: C_r, relations to tell apart; or a :class:`RelationFile`, which has them as
            predicates. With a file, a checkpoint that is loaded brings a number of its own, so
            that inference does without the file.

    Raises:
        ValueError: If the file is malformed or has no predicate.
    """

    def __init__(self, channels: int, num_relations: int | str) -> None:
        from_file = isinstance(num_relations, str)
        if from_file:
            num_relations = _num_predicates(num_relations)
        super().__init__(
            nn.Linear(2 * channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, num_relations),
        )
        self.from_file = from_file

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if self.from_file:
            last = self[-1]
            for name in ('weight', 'bias'):
                fit_rows(getattr(last, name), state_dict.get(f'{prefix}2.{name}'))
            last.out_features = len(last.weight)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _num_predicates(path: str) -> int:
    if not Path(path).is_file():
        # One stands in for those of the checkpoint.
        return 1
    predicates = RelationFile.load(path).predicates
    if not predicates:
        raise ValueError(
            f'{path} has no predicates, so there are no relations to tell apart: write it anew '
            'with a lower --min-count of tools/dataset_converters/parse_relations.py, or set '
            'model.head.num_relations=0'
        )
    return len(predicates)
