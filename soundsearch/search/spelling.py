"""Words of a question that nothing knows, and what may be meant by them.

A word is known if a recording holds it in its name, folders or metadata, if the list of sounds has
it, or if the tokenizer of the encoder has it as one token. In: a question without its filters. Out:
`Spelling`.
"""

from __future__ import annotations

import difflib
import functools
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from soundsearch.encoder.towers import Encoder
from soundsearch.store import Reader
from soundsearch.vocabulary import load_vocabulary
from soundsearch.words import RUN, STOP_WORDS, terms

#: Shorter words are never unknown: too many are abbreviations, and too many words are like them.
#: Longer ones are no words.
SHORTEST, LONGEST = 4, 24
#: From so many letters on a word that the tokenizer alone has may be meant.
SHORTEST_OF_ENCODER = 6
#: Words of a question that are looked at, and of these, words that something is proposed for.
MOST_WORDS, MOST_MEANT = 16, 3
#: How alike words must be of which more than one letter differs (see `difflib`).
LIKENESS = 0.8
#: How many letters more, or less, such a word may have.
MOST_MORE = 2
#: Endings of forms of a word, and what may stand in their place in the word.
ENDINGS = (("s", ("",)), ("es", ("",)), *((ending, ("", "e")) for ending in ("ed", "ing", "er")))


@dataclass(frozen=True)
class Spelling:
    """What is to be said of the words of a question.

    Attributes:
        unknown: Words that nothing knows, in small letters, in order.
        meant: For some of them, the known word that is most like it.
        is_foreign: Whether the question seems to be in a language other than English: it has
            letters of another script, or nothing knows any of its words and one is like none.
    """

    unknown: Sequence[str] = ()
    meant: Mapping[str, str] = field(default_factory=dict)
    is_foreign: bool = False


def check_spelling(question: str, reader: Reader, encoder: Encoder) -> Spelling:
    """Return which words of a question, without its filters, nothing knows."""
    found = terms(question)
    words = [w for w in found if w.isalpha() and len(w) <= LONGEST and w not in STOP_WORDS]
    words = words[:MOST_WORDS]
    in_index = reader.known_words(words)
    known = {word for word in words if word in in_index or _is_word(word, encoder)}
    unknown = [word for word in words if word not in known and len(word) >= SHORTEST]
    is_nothing_known = bool(unknown) and not known
    meant: dict[str, str] = {}
    for word in unknown[:MOST_MEANT]:
        is_vague = is_nothing_known and len(unknown) > 1
        near = _nearest(word, reader, encoder, only_one_letter=is_vague)
        if near is not None:
            meant[word] = near
    is_foreign = any(map(_is_of_other_script, found)) or (
        is_nothing_known and len(meant) < min(len(unknown), MOST_MEANT)
    )
    return Spelling(tuple(unknown), meant, is_foreign)


def _is_word(word: str, encoder: Encoder) -> bool:
    """Whether the list of sounds or the tokenizer has a word, or the word that it is a form of.

    Short ones of the tokenizer do not count: it has those of many languages.
    """
    forms = {word}
    for ending, instead in ENDINGS:
        if word.endswith(ending):
            start = word.removesuffix(ending)
            forms |= {start + last for last in instead}
            if "e" in instead and start[-1:] == start[-2:-1]:  # "humming" is of "hum"
                forms.add(start[:-1])
    if len(word) < SHORTEST:
        return word in _sounds()
    return any(form in _sounds() or encoder.is_word(form) for form in forms)


def _nearest(word: str, reader: Reader, encoder: Encoder, *, only_one_letter: bool) -> str | None:
    """The known word that is most like an unknown one, if one is like it."""
    changed = _one_letter_changed(word)
    near = changed & _sounds() or reader.known_words(changed)
    if near:
        return _most_like(word, near, 0)
    others = () if only_one_letter else (*_sounds(), *reader.words_like(word[:2]))
    close = (other for other in others if abs(len(other) - len(word)) <= MOST_MORE)
    found = _most_like(word, close, LIKENESS)
    if found is None and len(word) >= SHORTEST_OF_ENCODER:
        found = _most_like(word, filter(encoder.is_word, changed), 0)
    return found


def _most_like(word: str, others: Iterable[str], likeness: float) -> str | None:
    alike = difflib.get_close_matches(word, sorted(others), n=1, cutoff=likeness)
    return alike[0] if alike else None


def _one_letter_changed(word: str) -> set[str]:
    """Words with one letter less, another one, one more, or two neighbours exchanged."""
    parts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = string.ascii_lowercase
    fewer = (start + end[1:] for start, end in parts if end)
    exchanged = (start + end[1] + end[0] + end[2:] for start, end in parts if len(end) > 1)
    other = (start + letter + end[1:] for start, end in parts if end for letter in letters)
    more = (start + letter + end for start, end in parts for letter in letters)
    return {*fewer, *exchanged, *other, *more} - {word}


def _is_of_other_script(word: str) -> bool:
    return any(c.isalpha() and "LATIN" not in unicodedata.name(c, "LATIN") for c in word)


@functools.cache
def _sounds() -> frozenset[str]:
    """The words of the list of sounds."""
    return frozenset(_words_of(load_vocabulary()))


def _words_of(lines: Iterable[str]) -> Iterable[str]:
    return (word for line in lines for word in RUN.findall(line.lower()))
