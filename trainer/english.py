"""English by rule of thumb: the word that says what sounds, and its singular and plural.

For captions and names of a few words, not a parser. The head word is the last of the first group of
nouns: "dog" of "a small dog barking in the rain". A group ends before a verb, a participle or a
preposition. "sawing wood" begins with a verb: it goes with the nouns right after it, and is the
head word itself where there are none.

The library inflect is not used for plurals: of 13,494 words it gives 457 another plural than
`plural`, most of them worse ("golves", "perezzes", "germen"), and its singulars take the last letter
of bus, gas and chorus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What may stand before all that is said: "the sound of rain".
OPENING = re.compile(r"^(the |a )?(sounds?|noises?|recording) of ", re.IGNORECASE)
ARTICLES = _words("a an the some his her its their")
#: Words after which something else begins, and words that tell where and how.
BREAKS = _words(
    """about above across after against along among and around as at away back before behind below
    beneath beside between but by down during far followed for from in indoors inside into is are
    like near nearby of off on onto or out outdoors outside over past shut softly loudly slowly
    quickly that then through to toward towards under underwater until up when where which while
    with within without"""
)
#: Verbs as "heavy door slams shut" has them, which are otherwise taken for plurals, and participles
#: that do not end in -ed.
VERBS = _words(
    """barks beats blows breaks bubbles burns buzzes calls chirps closes crackles crashes creaks
    cries croaks drips drives explodes falls flies flows growls hisses hits honks hoots howls hums
    laughs meows moos opens plays purrs rattles rings roars rolls runs rustles says screams
    screeches shoots sings slams speaks squeaks starts stops strikes talks ticks walks whistles
    blown broken heard put spoken struck taken thrown torn"""
)
#: Nouns that end as verbs do.
NOUNS_IN_ING = _words(
    """building ceiling clothing crossing ding earring evening king lightning morning ping railing
    ring sling spring sting string swing thing wing"""
)
UNCOUNTED = _words("deer music noise people rain sheep speech thunder traffic water")
IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "wolf": "wolves",
    "knife": "knives",
    "leaf": "leaves",
}


def head_word(caption: str) -> str:
    """The head word in lower case and the singular; "" where only little words are found."""
    words = words_of(OPENING.sub("", caption))
    head = head_of(words)
    return "" if head is None else singular(words[head])


def head_of(words: Sequence[str]) -> int | None:
    """Where the head word stands; None where only little words are found.

    words: in lower case.
    """
    said = next((i for i, word in enumerate(words) if word not in ARTICLES | BREAKS), None)
    if said is None:
        return None
    at = said
    while at < len(words) and _is_ing(words[at]):
        at += 1
    while at < len(words) and words[at] in ARTICLES:
        at += 1
    if at == len(words) or _ends(words[at]):
        return said
    while at + 1 < len(words) and not (_ends(words[at + 1]) or _is_participle(words[at + 1])):
        at += 1
    return at


def words_of(text: str) -> list[str]:
    """Its words in lower case; "hi-hat" is one. A comma ends a group of nouns, so it reads "and"."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower().replace(",", " and "))


def singular(word: str) -> str:
    """The word without a plural's ending, by how it is spelt alone."""
    if re.search(r"(x|sh|ch|ss)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and re.search(r"[^sui]s$", word) else word


def stem(word: str) -> str:
    """The word without endings of plurals, verbs and participles: "barks" and "barking" are alike."""
    bare = re.sub(r"(?<=..[^e])(ing|ed)$", "", singular(word))
    bare = re.sub(r"([^aeiouls])\1$", r"\1", bare)
    return bare.removesuffix("e") if len(bare) > 3 else bare


def plural(word: str) -> str:
    """The plural of one noun in lower case."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def may_be_counted(word: str) -> bool:
    """Whether the word could be a singular noun that can be counted, by its letters."""
    return (
        len(word) > 2
        and word.isascii()
        and word.isalpha()
        and word.islower()
        and word not in UNCOUNTED
        and word not in IRREGULAR.values()
        and (word in NOUNS_IN_ING or not word.endswith(("ed", "ing", "ly")))
        and not word.endswith("s")
    )


def _ends(word: str) -> bool:
    return word in BREAKS or word in VERBS or _is_ing(word)


def _is_ing(word: str) -> bool:
    return word.endswith("ing") and word not in NOUNS_IN_ING


def _is_participle(word: str) -> bool:
    """An -ed form; "reed", "bed" and the like are none. Before a noun it is an adjective."""
    return bool(re.search(r"\w\w[^e]ed$", word))
