"""Relations between the phrases of captions, from a dependency parse.

As in the paper of ReIR, relations are read off the dependency tree of a caption, and those that are
frequent make the categories. How its authors did either is not published, so the rules are ours.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SUBJECTS = ('nsubj', 'nsubjpass')
_OBJECTS = ('dobj', 'obj', 'dative')
_PREPOSITIONS = ('prep', 'agent', 'dative')
_PREPOSITION_OBJECTS = ('pobj', 'pcomp')
# Verbs that have the subject of the verb that they depend on, unless they have their own.
_SHARING = ('conj', 'advcl', 'xcomp')
# Verbs that describe a noun, which is their subject.
_DESCRIBING = ('acl', 'relcl')

Found = tuple[int, int, str]
"""Subject and object, numbers of phrases, and the words between them."""


@dataclass
class Dependencies:
    """The dependency tree of a caption, in the labels of spaCy's English models.

    Args:
        words: The tokens.
        heads: The token that each depends on; the root depends on itself.
        deps: How it does.
        lemmas: Base forms; the words themselves if None.

    Raises:
        ValueError: If the lists differ in length, a head is no token, or there is a cycle.
    """

    words: Sequence[str]
    heads: Sequence[int]
    deps: Sequence[str]
    lemmas: Sequence[str] | None = None

    def __post_init__(self) -> None:
        count = len(self.words)
        self.lemmas = self.words if self.lemmas is None else self.lemmas
        if {len(self.heads), len(self.deps), len(self.lemmas)} != {count}:
            raise ValueError(f'{count} words need as many heads, deps and lemmas')
        if not all(0 <= head < count for head in self.heads):
            raise ValueError(f'a head is none of the {count} tokens: {list(self.heads)}')
        self._children: list[list[int]] = [[] for _ in self.words]
        for token, head in enumerate(self.heads):
            if token != head:
                self._children[head].append(token)
            above, steps = head, 0
            while self.heads[above] != above:
                above, steps = self.heads[above], steps + 1
                if steps > count:
                    raise ValueError(f'the heads {list(self.heads)} have a cycle')

    def children(self, token: int, deps: Sequence[str]) -> list[int]:
        """Tokens that depend on one in one of some ways, in order."""
        return [child for child in self._children[token] if self.deps[child] in deps]

    def lemma(self, token: int) -> str:
        """Base form of a token, in lower case."""
        return self.lemmas[token].lower()

    def with_conjuncts(self, token: int) -> list[int]:
        """A token and those that are joined to it: of "cats, dogs and birds" all three."""
        return [
            token,
            *(
                other
                for child in self.children(token, ('conj',))
                for other in self.with_conjuncts(child)
            ),
        ]


def head_token(tree: Dependencies, span: tuple[int, int]) -> int:
    """The token of a phrase on which its others depend: the first that depends on none of them.

    Args:
        tree: Of the caption.
        span: Tokens [start, end).
    """
    start, end = span
    return next(
        token
        for token in range(start, end)
        if tree.heads[token] == token or not start <= tree.heads[token] < end
    )


def find_relations(tree: Dependencies, spans: Sequence[tuple[int, int]]) -> list[Found]:
    """Relations between phrases of a caption.

    A phrase is what its head token is in the tree. Phrases are related by

    - a preposition: "[a man] in [a hat]", also one of several words, "in front of";
    - a verb with its object: "[a man] holds [a ball]", to which the subject of a verb that it is
      joined to, or the noun that it describes, belongs as well: "[a man] runs holding [a ball]";
    - a verb with a preposition: "[a man] stands on [a box]"; of "is on" only the preposition.

    Args:
        tree: Of the caption.
        spans: Tokens [start, end) of each phrase; they do not overlap.

    Returns:
        Different ones, subject and object being different phrases, in the order of their
        subjects' and objects' tokens.

    Example:
        >>> tree = Dependencies(
        ...     words=['a', 'man', 'rides', 'a', 'horse'],
        ...     heads=[1, 2, 2, 4, 2],
        ...     deps=['det', 'nsubj', 'ROOT', 'det', 'dobj'],
        ...     lemmas=['a', 'man', 'ride', 'a', 'horse'],
        ... )
        >>> find_relations(tree, [(0, 2), (3, 5)])
        [(0, 1, 'ride')]
    """
    phrase_of = {head_token(tree, span): phrase for phrase, span in enumerate(spans)}
    found: dict[Found, None] = {}
    for token in range(len(tree.words)):
        if token in phrase_of:
            starts = [(token, '', part) for part in tree.children(token, ('prep',))]
        else:
            starts = []
        subjects = _subjects(tree, token)
        if subjects:
            verb = _verb_words(tree, token)
            for part in tree.children(token, _OBJECTS):
                for subject, other in _pairs(tree, subjects, [part]):
                    _add(found, phrase_of, subject, other, verb)
            starts += [
                (subject, '' if tree.lemma(token) == 'be' else verb, part)
                for subject in subjects
                for part in tree.children(token, _PREPOSITIONS)
            ]
        for subject, verb, part in starts:
            for other, words in _prepositional(tree, part, phrase_of):
                words = f'{verb} {words}'.strip()
                for one, two in _pairs(tree, [subject], [other]):
                    _add(found, phrase_of, one, two, words)
    return list(found)


def _add(found: dict, phrase_of: dict[int, int], subject: int, other: int, words: str) -> None:
    pair = phrase_of.get(subject), phrase_of.get(other)
    if None not in pair and pair[0] != pair[1] and words:
        found.setdefault((*pair, words))


def _pairs(
    tree: Dependencies, subjects: Sequence[int], objects: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Each subject with each object, and with what is joined to it."""
    for subject in subjects:
        for other in objects:
            for joined in tree.with_conjuncts(other):
                yield subject, joined


def _subjects(tree: Dependencies, verb: int) -> list[int]:
    """The tokens that are the subject of a verb; none, if it is no verb."""
    own = [
        subject
        for child in tree.children(verb, _SUBJECTS)
        for subject in tree.with_conjuncts(child)
    ]
    dep, head = tree.deps[verb], tree.heads[verb]
    if dep in _DESCRIBING:
        # The subject of "who holds a ball" is the noun before it.
        relative = all(tree.lemma(token) in ('who', 'which', 'that') for token in own)
        return [head] if relative else own
    if own or dep not in _SHARING or head == verb:
        return own
    return _subjects(tree, head)


def _verb_words(tree: Dependencies, verb: int) -> str:
    """A verb with its particles: "put on"."""
    particles = [tree.lemma(token) for token in tree.children(verb, ('prt',))]
    return ' '.join([tree.lemma(verb), *particles])


def _prepositional(
    tree: Dependencies, preposition: int, phrase_of: dict[int, int]
) -> Iterator[tuple[int, str]]:
    """Tokens at the other end of a preposition, with its words.

    Where its object is in no phrase, as in "in front of [a car]", it is a part of the preposition.
    """
    words = tree.lemma(preposition)
    for part in tree.children(preposition, ('prep',)):
        for other, more in _prepositional(tree, part, phrase_of):
            yield other, f'{words} {more}'
    for other in tree.children(preposition, _PREPOSITION_OBJECTS):
        if any(joined in phrase_of for joined in tree.with_conjuncts(other)):
            yield other, words
            continue
        between = ' '.join(
            [words]
            + [tree.lemma(token) for token in tree.children(other, ('det', 'amod'))]
            + [tree.lemma(other)]
        )
        for part in tree.children(other, ('prep',)):
            for end, more in _prepositional(tree, part, phrase_of):
                yield end, f'{between} {more}'


@dataclass
class Predicates:
    """The categories of relations.

    Args:
        names: Words of each, the most frequent first.
        counts: How often each occurs.
    """

    names: list[str]
    counts: list[int]

    def of(self, words: str) -> list[int]:
        """The categories of a relation with some words; none, if they are too rare.

        Words that are rare as a whole have the category of their last word, which is the
        preposition: "saunter in" that of "in".
        """
        for candidate in (words, _last_word(words)):
            if candidate in self.names:
                return [self.names.index(candidate)]
        return []


def choose_predicates(words: Iterable[str], min_count: int = 100) -> Predicates:
    """Choose the categories: what occurs more than some number of times.

    Args:
        words: Of every relation of the training captions.
        min_count: A category occurs more often than this. The default is the paper's.

    Returns:
        The categories, by how often they occur, equal ones by name.
    """
    counts = Counter(words)
    merged: Counter[str] = Counter()
    for name, count in counts.items():
        # What is too rare by itself counts for its preposition.
        merged[name if count > min_count else _last_word(name)] += count
    chosen = sorted(
        ((name, count) for name, count in merged.items() if count > min_count),
        key=lambda item: (-item[1], item[0]),
    )
    return Predicates([name for name, _ in chosen], [count for _, count in chosen])


def _last_word(words: str) -> str:
    return words.rpartition(' ')[2]


def token_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Token ranges of character ranges, in a text of words with single spaces between them.

    Example:
        >>> token_spans('a man in a hat', [(0, 5), (9, 14)])
        [(0, 2), (3, 5)]
    """
    found = []
    for start, end in spans:
        first = text[:start].count(' ')
        found.append((first, first + text[start:end].count(' ') + 1))
    return found


Parser = Callable[[Iterable[list[str]]], Iterator[Dependencies]]
"""Gives the tree of each list of words."""


def spacy_dependencies(doc) -> Dependencies:
    """The tree of a parsed :class:`spacy.tokens.Doc`."""
    return Dependencies(
        words=[token.text for token in doc],
        heads=[token.head.i for token in doc],
        deps=[token.dep_ for token in doc],
        lemmas=[token.lemma_ or token.text for token in doc],
    )


def related_phrases(
    text: str, spans: Sequence[tuple[int, int]], parse: Parser
) -> list[tuple[int, int]]:
    """Which phrases of any text are related.

    Args:
        text: Words and punctuation with or without white space between them.
        spans: Character range of each phrase; none overlap.
        parse: See :func:`spacy_parser`.

    Returns:
        Different pairs (subject, object).

    Raises:
        ValueError: If phrases overlap.
    """
    ordered = sorted(spans)
    for (_, end), (start, _) in pairwise(ordered):
        if start < end:
            raise ValueError(
                f'two phrases of the text {text!r} overlap at character {start}, so that a word '
                'would be of two of them: give the relations yourself'
            )
    # Phrases begin and end with tokens.
    cuts = {cut for span in spans for cut in span}
    tokens: list[tuple[int, int]] = []
    for match in re.finditer(r"\w+(?:[-'\u2019]\w+)*|[^\w\s]", text):
        bounds = [match.start(), *sorted(c for c in cuts if match.start() < c < match.end())]
        tokens += zip(bounds, [*bounds[1:], match.end()], strict=True)
    (tree,) = parse([[text[start:end] for start, end in tokens]])
    own = [
        [place for place, (first, last) in enumerate(tokens) if start <= first and last <= end]
        for start, end in spans
    ]
    found = find_relations(tree, [(places[0], places[-1] + 1) for places in own])
    return list(dict.fromkeys((subject, other) for subject, other, _ in found))


def spacy_parser(model: str = 'en_core_web_sm', batch_size: int = 256) -> Parser:
    """A parser that is one of spaCy's.

    Args:
        model: Name or folder of the pipeline.
        batch_size: Captions at once.

    Raises:
        ImportError: If spaCy is not installed.
        OSError: If there is no such model.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError(
            "parsing captions needs spaCy: pip install 'mmground[nlp]' && python -m spacy download "
            f'{model}'
        ) from error
    try:
        nlp = spacy.load(model)
    except OSError as error:
        raise OSError(
            f"parsing captions needs spaCy's model {model}: python -m spacy download {model}"
        ) from error

    def parse(captions: Iterable[list[str]]) -> Iterator[Dependencies]:
        # The words are given, so that phrases begin and end with tokens.
        docs = (spacy.tokens.Doc(nlp.vocab, words=words) for words in captions)
        for doc in nlp.pipe(docs, batch_size=batch_size):
            yield spacy_dependencies(doc)

    return parse
