"""What a question in words says is not wanted: "dog barking without rain, but no wind either".

In: the text of a question. Out: the text of what is wanted, and the texts of what is not. English
alone, and cautious: a text that may be a name or mean something else stays as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: A longer text is left alone: it is no question.
MOST_CHARACTERS = 1_000
#: Parts of a text: what stands in quotes, a filter (duration:<3, -word), a mark, a word.
_TOKEN = re.compile(
    r'-?(?:\w+:)?(?:"[^"]*"|“[^”]*”)|-?[A-Za-z_]+:[^\s"“”]+|-\w\S*|[,;:.!?()]|[^\s,;:.!?()"“”]+|["“”]'
)
#: Quotes and filters, which belong to the text around them.
_OPAQUE = re.compile(r'.*["“”]|-\w|\w+:.')
_MARKS = frozenset(",;:.!?()")
_QUOTES = frozenset('"“')
#: Words between two things that are not wanted.
_JOINTS = frozenset(["and", "or", "nor"])
#: Words that end what is not wanted.
_ENDS = frozenset(["but", "with", "without", "no", "not"])
#: Words that go with "without" or "no" after them: "and without rain", "with no rain".
_LEADS = frozenset(["and", "but", "with"])
_ARTICLES = frozenset(["a", "an", "any", "some", "the"])
#: Before "no": it is what someone says, or a part of a name or a phrase.
_BEFORE_NO = frozenset([
    "a", "an", "at", "by", "dr", "for", "from", "in", "is", "mr", "no", "of", "on", "or", "said", "say",
    "saying", "says", "scream", "screaming", "screams", "shout", "shouting", "shouts", "the", "there's",
    "to", "was", "whispering", "whispers", "yelling", "yells", "yes",
])  # fmt: skip
#: After "no": the same.
_AFTER_NO = frozenset([
    "doubt", "entry", "idea", "longer", "matter", "more", "no", "one", "problem", "show", "smoking",
    "thank", "thanks", "way",
])  # fmt: skip
#: After "without": names of songs.
_AFTER_WITHOUT = frozenset(["her", "him", "it", "me", "them", "us", "you"])


@dataclass(frozen=True)
class Understood:
    """A text, taken apart.

    Attributes:
        text: What is wanted; empty if the text says only what is not.
        minus: What is not wanted, in order.
        phrases: Where the text says so, such as "without rain".
    """

    text: str
    minus: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


def split_minus(text: str) -> Understood:
    """Take "without X", "no X" and "but not X" out of a text.

    X ends with the text, at a mark, a quote or a filter, and at "but", "with" and another of these;
    "and", "or" and the commas of a list separate several things. The words count in small letters alone: "Man Without a
    Face" is a name. "no" counts only within a text, and not as something that is said, or before
    a number, a possessive ("no man's land") or a phrase such as "no one". What stands in double
    quotes is left alone.
    """
    if len(text) > MOST_CHARACTERS:
        return Understood(text)
    tokens = list(_TOKEN.finditer(text))
    words = [token[0] for token in tokens]
    wanted, minus, phrases = [], [], []
    place = done = 0  # in tokens, in characters
    while place < len(words):
        first = _begins(words, place)
        end = place if first is None else _end(words, first)
        things = [] if first is None else list(_things(words[first:end]))
        if not things:
            place += 1
            continue
        begin, stop = tokens[place].start(), tokens[end - 1].end()
        wanted.append(text[done:begin])
        phrases.append(text[begin:stop])
        minus += things
        place, done = end, stop
    if not minus:
        return Understood(text)
    kept = functools.reduce(_joined, [*wanted, text[done:]])
    return Understood(kept, tuple(minus), tuple(phrases))


def _joined(left: str, right: str) -> str:
    """What stands before a phrase and what stands after it, as one text."""
    left, right = left.rstrip(), right.lstrip()
    if left.endswith("(") and right.startswith(")"):
        left, right = left[:-1].rstrip(), right[1:].lstrip()
    before, after = left.rstrip(",;: "), right.lstrip(",;: ")
    if not before or not after.strip(",;:. "):
        return before or after
    is_marked = (before, after) != (left, right)
    return before + ("" if after.startswith(".") else ", " if is_marked else " ") + after


def _begins(words: Sequence[str], place: int) -> int | None:
    """Where that which is not wanted begins, if the words from this place on say so."""
    at = place
    while at < len(words) and words[at] in _LEADS:
        at += 1
    if at + 1 >= len(words):
        return None
    word, following = words[at], words[at + 1]
    if _OPAQUE.match(following) and following[0] not in _QUOTES:
        return None
    if word == "without":
        is_minus = following not in _AFTER_WITHOUT
    elif word == "not":
        is_minus = at > place and words[at - 1] == "but"
    elif word == "no":
        before = words[place - 1].lower() if place else None
        is_minus = (
            (at > place or (before is not None and before not in _BEFORE_NO | {"."}))
            and following.isalpha()
            and following not in _AFTER_NO
        )
    else:
        is_minus = False
    return at + 1 if is_minus else None


def _end(words: Sequence[str], first: int) -> int:
    """Where that which is not wanted ends: the place of the first word after it."""
    for at in range(first, len(words)):
        is_mark = words[at] in _MARKS and not _goes_on(words, at)
        is_opaque = at > first and _OPAQUE.match(words[at]) is not None
        if words[at] in _ENDS or is_mark or is_opaque:
            # "rain and with wind": the joint belongs to what follows.
            return at - 1 if words[at - 1] in _JOINTS else at
    return len(words)


def _goes_on(words: Sequence[str], at: int) -> bool:
    """Whether a mark is a comma of a list, "rain, wind and traffic"."""
    if words[at] != ",":
        return False
    for word in words[at + 1 :]:
        if word in _JOINTS:
            return True
        if word in _ENDS or (word in _MARKS and word != ","):
            return False
    return False


def _things(words: Sequence[str]) -> Iterator[str]:
    """The things that are listed, without articles."""
    thing: list[str] = []
    for word in [*words, ","]:
        if word == "," or word in _JOINTS:
            if any(map(str.isalnum, "".join(thing))):
                yield " ".join(thing)
            thing = []
        elif thing or word not in _ARTICLES:
            thing.append(word.strip('"“”'))
