"""A small WordPiece vocabulary of the generator's language."""

import re
import string
from dataclasses import astuple, is_dataclass
from types import ModuleType

from . import expression_lexicon, lexicon

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
"""In the order of their ids, as in BERT; ``[PAD]`` is 0."""

SPLIT_WORDS = {
    'triangle': ('tri', '##angle'),
    'crescent': ('cres', '##cent'),
    'diamond': ('dia', '##mond'),
    'mountain': ('moun', '##tain'),
    'background': ('back', '##ground'),
}
"""Words left out, with their plurals, so that phrases of several pieces are common."""

SUFFIXES = ('##s', '##es', '##ed', '##ing', '##er', '##ly')


def language_words() -> list[str]:
    """All lower-case words that a generated text can contain.

    Sorted, those of narratives first, then those that only expressions have: words of
    expressions that come to be do not change the ids of the narratives' words.
    """
    narratives, expressions = _words_of(lexicon), _words_of(expression_lexicon)
    return [*sorted(narratives), *sorted(expressions - narratives)]


def _words_of(tables: ModuleType) -> set[str]:
    """The words in a module's constants."""
    found: set[str] = set()

    def collect(value):
        if isinstance(value, str):
            found.update(re.findall('[a-z]+', re.sub(r'{\w+}', ' ', value).lower()))
        elif isinstance(value, dict):
            collect(tuple(value.values()))
        elif is_dataclass(value):
            collect(astuple(value))
        elif isinstance(value, tuple | frozenset):
            for item in value:
                collect(item)

    for name, value in vars(tables).items():
        if name.isupper():
            collect(value)
    return found


def wordpiece_vocabulary() -> list[str]:
    """The pieces in the order of their ids.

    Special tokens, every printable ASCII character alone and as a continuation, a few
    suffixes, the parts of :data:`SPLIT_WORDS`, and the other words of the language. So the
    generated texts keep their words whole, but for the split ones, and any other text in
    ASCII has a tokenisation without ``[UNK]``.
    """
    split = {form for word in SPLIT_WORDS for form in (word, f'{word}s')}
    alphabet = string.ascii_lowercase + string.digits
    pieces = [
        *SPECIAL_TOKENS,
        *string.punctuation,
        *alphabet,
        *(f'##{character}' for character in alphabet),
        *SUFFIXES,
        *(piece for pair in SPLIT_WORDS.values() for piece in pair),
        *(word for word in language_words() if word not in split),
    ]
    return list(dict.fromkeys(pieces))
