from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    known = known.to(words)[..., None]
    share = known / known.sum(1, keepdim=True).clamp(min=1)
    if form == 'official':
        words, categories = F.normalize(words, dim=-1), F.normalize(categories, dim=-1)
    phrases = (words * share).sum(1)
    similarity = phrases @ categories.T
    return similarity.relu() if form == 'official' else similarity


@MODELS.register_module()
class SemanticSimilarity(nn.Module):
    """Similarity of phrases with the categories of proposals, by vectors of words.

    There is nothing to learn. Vectors are read from a file when they are first needed, and are not
    a part of checkpoints: their tables are large.

    Args:
        word_vectors: A file of :class:`~mmground.datasets.word_vectors.WordVectors`.
        classes: Names of the detector's categories, in the order of the proposals' labels; a
            ``.txt`` file with one a line; or the file of proposals, which has them.
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
        self._vectors = None
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
        return bool(words) and bool(torch.as_tensor(self._vectors.of(words)[1]).any())

    def _ensure_loaded(self) -> None:
        if self._vectors is None:
            self._load()

    def _load(self) -> None:
        if self.word_vectors is None or not self.classes:
            raise RuntimeError(
                'the head has no vectors of words or no names of categories: set '
                'model.head.similarity.word_vectors and .classes to those of the data'
            )
        from mmground.datasets.word_vectors import WordVectors, read_names

        names = self.classes
        if isinstance(names, str) and names.endswith('.txt'):
            names = read_names(names)
        elif isinstance(names, str):
            from mmground.datasets.proposal_store import ProposalStore

            names = ProposalStore(names).header['classes']
        self.use(WordVectors.load(self.word_vectors), names)

    def use(self, vectors, names: Sequence[str]) -> None:
        """Take vectors and names that have been read already.

        Args:
            vectors: With ``of``, as :class:`~mmground.datasets.word_vectors.WordVectors` has.
            names: Of the categories.
        """
        self._vectors = vectors
        self._names = list(names)
        self._categories = _of_names(vectors, names)

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
        if len(labels) and labels.numel() and int(labels.max()) >= len(self._categories):
            raise ValueError(
                f'a proposal has the label {int(labels.max())}, but there are '
                f'{len(self._categories)} names of categories: set model.head.similarity.classes '
                'to those of the detector that made the proposals'
            )
        length = max([1, *map(len, phrases)])
        words = torch.zeros(len(phrases), length, self._categories.shape[1])
        known = torch.zeros(len(phrases), length, dtype=torch.bool)
        for row, own in enumerate(phrases):
            if own:
                vectors, found = self._vectors.of(own)
                words[row, : len(own)] = torch.as_tensor(vectors, dtype=torch.float32)
                known[row, : len(own)] = torch.as_tensor(found)
        table = semantic_similarity(words, known, self._categories, self.form).to(labels.device)
        return table.gather(1, labels[owner])


def _of_names(vectors, names: Sequence[str]) -> Tensor:
    """The mean of the known words of each name. Shape (C, D)."""
    rows = []
    for name in names:
        found, known = vectors.of(name.lower().split())
        found = torch.as_tensor(found, dtype=torch.float32)
        known = torch.as_tensor(known).bool()
        rows.append(found[known].mean(0) if known.any() else found.new_zeros(found.shape[1]))
    return torch.stack(rows)
