import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmground.datasets.proposal_store import ProposalStore
from mmground.datasets.word_vectors import WordVectors, read_names
from mmground.registry import MODELS

FORMS = ('official', 'paper')


def semantic_similarity(
    words: Tensor, known: Tensor, categories: Tensor, form: str = 'official'
) -> Tensor:
    """How similar phrases are to the names of categories, s^a (Eq. 3 of ReIR).

    Args:
        words: Vectors of the words of each phrase. Shape (P, L, D).
        known: Words that have a vector. Shape (P, L), boolean.
        categories: Vectors of the names. Shape (C, D).
        form: ``'official'``, the mean over the words of the cosine, not below 0; ``'paper'``, the
            inner product of the name's vector with the mean of the words'.

    Returns:
        Shape (P, C); 0 for a phrase without a known word.
    """
    return _compare(words, known, _prepare_categories(categories, form), form)


def _prepare_categories(categories: Tensor, form: str) -> Tensor:
    return F.normalize(categories, dim=-1) if form == 'official' else categories


def _compare(words: Tensor, known: Tensor, categories: Tensor, form: str) -> Tensor:
    known = known.to(words)[..., None]
    share = known / known.sum(1, keepdim=True).clamp(min=1)
    if form == 'official':
        words = F.normalize(words, dim=-1)
    similarity = (words * share).sum(1) @ categories.T
    return similarity.relu() if form == 'official' else similarity


@MODELS.register_module()
class SemanticSimilarity(nn.Module):
    """Similarity of phrases with the categories of proposals, by vectors of words.

    There is nothing to learn. Vectors are read from a file when they are first needed, and are not
    a part of checkpoints: their tables are large.

    Args:
        word_vectors: A file of :class:`WordVectors`.
        classes: Names of the detector's categories, in the order of the proposals' labels; a
            ``.txt`` file with one a line, see :func:`read_names`; or the :class:`ProposalStore`,
            which has them.
        form: See :func:`semantic_similarity`.

    Raises:
        ValueError: If there is no such form.
    """

    def __init__(
        self,
        word_vectors: str | None = None,
        classes: Sequence[str] | str | None = None,
        form: str = 'official',
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form must be one of {FORMS}, got {form!r}')
        self.word_vectors = word_vectors
        self.classes = classes
        self.form = form
        self._vectors: WordVectors | None = None
        self._names: list[str] = []
        self._categories: Tensor | None = None

    @property
    def names(self) -> list[str]:
        """Names of the categories, in the order of the proposals' labels.

        Raises:
            RuntimeError: If the files are not set.
        """
        self._ensure_loaded()
        return self._names

    def knows(self, words: Sequence[str]) -> bool:
        """Whether any of some words, in lower case, has a vector.

        Raises:
            RuntimeError: If the files are not set.
        """
        self._ensure_loaded()
        return bool(self._vectors.of(words)[1].any())

    def _ensure_loaded(self) -> None:
        if self._vectors is None:
            self._load()

    def _load(self) -> None:
        if self.word_vectors is None or not self.classes:
            raise RuntimeError(
                'the head has no vectors of words or no names of categories: set '
                'model.head.similarity.word_vectors and .classes to those of the data'
            )
        names = self.classes
        if isinstance(names, str) and names.endswith('.txt'):
            names = read_names(names)
        elif isinstance(names, str):
            names = ProposalStore(names).header['classes']
        self.use(WordVectors.load(self.word_vectors), names)

    def use(self, vectors: WordVectors, names: Sequence[str]) -> None:
        """Take vectors and names that have been read already.

        Args:
            vectors: The vectors.
            names: Of the categories. A name of several words has the mean of theirs. Those without
                a vector, to which nothing is similar, are logged.

        Raises:
            ValueError: If no name has a vector.
        """
        vectors_of_names, known = vectors.of_names(names)
        unknown = [name for name, own in zip(names, known, strict=True) if not own]
        if len(unknown) == len(names):
            raise ValueError(
                f'no name of a category ({", ".join(map(repr, unknown[:5]))}, ...) has a vector: '
                'set model.head.similarity.word_vectors to vectors that have the words of '
                'model.head.similarity.classes'
            )
        if unknown:
            print_log(
                f'{len(unknown)} of {len(names)} categories have no vector in '
                f'model.head.similarity.word_vectors, so that no phrase is similar to their '
                f'proposals: {", ".join(unknown)}',
                logger='current',
                level=logging.WARNING,
            )
        self._vectors = vectors
        self._names = list(names)
        categories = torch.from_numpy(vectors_of_names)
        self._categories = _prepare_categories(categories, self.form)

    def forward(self, phrases: Sequence[Sequence[str]], labels: Tensor, owner: Tensor) -> Tensor:
        """Compare phrases with the proposals of their images.

        Args:
            phrases: The words of each of P phrases, in lower case.
            labels: Categories of the proposals of B images. Shape (B, M), int64.
            owner: The image of each phrase. Shape (P, ).

        Returns:
            Shape (P, M), float32.

        Raises:
            RuntimeError: If the files are not set.
            ValueError: If a label has no name.
        """
        self._ensure_loaded()
        highest = int(labels.max()) if labels.numel() else -1
        if highest >= len(self._categories):
            raise ValueError(
                f'a proposal has the label {highest}, but there are '
                f'{len(self._categories)} names of categories: set model.head.similarity.classes '
                'to those of the detector that made the proposals'
            )
        lengths = torch.tensor([len(own) for own in phrases])
        slots = torch.arange(max(map(len, phrases), default=0)) < lengths[:, None]
        vectors, found = self._vectors.of([word for own in phrases for word in own])
        words = torch.zeros(*slots.shape, vectors.shape[1])
        known = torch.zeros_like(slots)
        words[slots], known[slots] = torch.from_numpy(vectors), torch.from_numpy(found)
        table = _compare(words, known, self._categories, self.form).to(labels.device)
        return table.gather(1, labels[owner])
