"""Words: those of a name or a text to be found, and those of a question to find them by.

In: file names, folder names and descriptions as people write them. Out: plain words, in order. What
counts as the same word (case, accents, endings) is up to the store, which matches them.
"""

from __future__ import annotations

import re
import unicodedata

#: Letters and digits without anything between them.
RUN = re.compile(r"[^\W_]+")
#: Words of a question that say nothing of a sound. They count where a question has no others.
STOP_WORDS = frozenset([
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "her", "his", "i", "in",
    "into", "is", "it", "its", "me", "my", "of", "on", "or", "our", "over", "some", "someone",
    "somebody", "something", "that", "the", "their", "there", "this", "to", "under", "was", "were",
    "with", "your",
])  # fmt: skip
#: Characters of a question that are looked at: a longer one repeats itself.
MOST_CHARACTERS = 10_000
#: Words of a question that are looked for.
MOST_TERMS = 64


def split_name(name: str) -> list[str]:
    """The words of a file name, a folder name or a path.

    Splits at everything that is no letter and no digit, between letters and digits, and where small
    letters meet capital ones: "DoorMetal02_close" has the words Door, Metal, 02, close. Accents are
    composed, so that names from any file system are alike.
    """
    composed = unicodedata.normalize("NFC", name)
    return [word for run in RUN.findall(composed) for word in _split_run(run)]


def _split_run(run: str) -> list[str]:
    if (run.isalpha() and run.islower()) or run.isdigit():
        return [run]
    words, start = [], 0
    for i in range(1, len(run)):
        before, here, after = run[i - 1], run[i], run[i + 1 : i + 2]
        if (
            before.isdigit() != here.isdigit()
            or (before.islower() and here.isupper())
            or (before.isupper() and here.isupper() and after.islower())
        ):
            words.append(run[start:i])
            start = i
    return [*words, run[start:]]


def terms(question: str) -> list[str]:
    """The words of a question to look for, in small letters, each once, in order.

    Without those that say nothing of a sound, unless there are no others. At most MOST_TERMS.
    """
    composed = unicodedata.normalize("NFC", question[:MOST_CHARACTERS]).lower()
    found = list(dict.fromkeys(RUN.findall(composed)))
    return ([word for word in found if word not in STOP_WORDS] or found)[:MOST_TERMS]
