"""Hits as lines for people: fitted to a terminal, or whole for a pipe.

On a terminal the name comes first and the folder after it, elided in the middle; in a pipe stands
the path as it is. Under a hit stand its other passages, and in how many other places it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soundsearch.render import printable, score_text, short_path, timestamp

if TYPE_CHECKING:
    from soundsearch.search.hits import Hit, Passage

#: Colours by what they are for, as the codes of ANSI terminals (ECMA-48, SGR).
FITTING, DIM, FOUND_BY, ABSENT = "32", "2", "36", "33"
#: What gets fewer columns is not shown.
FEWEST_COLUMNS = 8


@dataclass(frozen=True)
class Look:
    """How lines look.

    Attributes:
        width: Columns of the terminal; None for a pipe, where nothing is elided.
        colour: Whether there are colours.
        ellipsis: What stands for what is left out.
    """

    width: int | None = None
    colour: bool = False
    ellipsis: str = "…"

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and text and colour else text


PLAIN = Look()


def hit_lines(hits: Sequence[Hit], look: Look = PLAIN) -> list[str]:
    """Return the lines of hits: rank, score, where to listen, name, folder, words; passages below.

    Also that a file is not there now, and in how many other places the same sound lies.
    """
    others = [_other_passages(hit) for hit in hits]
    shown = [*hits, *(passage for passages in others for passage in passages)]
    rank_columns = max((len(str(hit.rank)) for hit in hits), default=0)
    span_columns = max((len(_span(passage)) for passage in shown), default=0)

    def start(rank: object, passage: Passage) -> str:
        score = look.paint(f"{score_text(passage.score):>6}", FITTING if _fits(passage) else "")
        return f"{rank:>{rank_columns}}  {score}  {_span(passage):>{span_columns}}"

    place = _places(hits, look, rank_columns + 2 + 6 + 2 + span_columns + 2)
    below = " " * (rank_columns + 2)
    lines = []
    for hit, passages in zip(hits, others, strict=True):
        lines.append(f"{start(hit.rank, hit)}  {place(hit)}")
        lines += [start("", passage) for passage in passages]
        if hit.n_more_passages:
            lines.append(below + look.paint(_more(hit.n_more_passages), DIM))
        if hit.copies:
            lines.append(below + look.paint(_also_in(hit), DIM))
    return lines


def _other_passages(hit: Hit) -> list[Passage]:
    """The passages that are shown beside the one with the hit's own window."""
    best = next((p for p in hit.passages if p.start_s <= hit.start_s < p.end_s), None)
    return [passage for passage in hit.passages if passage is not best]


def _more(n: int) -> str:
    return f"+{n} more passage{'s' * (n > 1)}"


def _also_in(hit: Hit) -> str:
    n = len(hit.copies)
    return f"also in {n} other place{'s' * (n > 1)}"


def _span(passage: Passage) -> str:
    return f"{timestamp(passage.start_s)}-{timestamp(passage.end_s)}"


def _fits(passage: Passage) -> bool:
    from soundsearch.encoder.calibration import FITS

    return passage.relevance is not None and passage.relevance >= FITS


def _places(hits: Sequence[Hit], look: Look, n_before: int) -> Callable[[Hit], str]:
    """What says where a hit is and by which words it was found. n_before: columns before it."""
    if look.width is None:
        return lambda hit: _in_a_pipe(hit, look)
    room = max(look.width - n_before, FEWEST_COLUMNS)
    columns = [[_cells(text) for text in (_name(hit), _rest(hit))] for hit in hits]
    n_name, n_rest = (max(cells, default=0) for cells in zip(*columns, strict=True))
    least = room if room < 3 * FEWEST_COLUMNS else room * 3 // 5
    n_name = min(n_name, max(least, room - n_rest))
    return lambda hit: _on_a_terminal(hit, look, n_name, room - n_name)


def _in_a_pipe(hit: Hit, look: Look) -> str:
    words = f"  [{printable(', '.join(hit.words))}]" if hit.words else ""
    return short_path(hit.path) + look.paint(words, FOUND_BY) + look.paint(_mark(hit), ABSENT)


def _on_a_terminal(hit: Hit, look: Look, n_name: int, n_rest: int) -> str:
    """Name, folder, words and mark. Where room is short the folder goes first, then the words."""
    name = elided(_name(hit), n_name, look.ellipsis)
    mark = _mark(hit) if _cells(_mark(hit)) <= n_rest else ""
    n_rest -= _cells(mark)
    words = _words(hit)
    if _cells(words) > n_rest:
        words = _longest(words, n_rest - len(look.ellipsis)) + look.ellipsis
        words = words if n_rest >= FEWEST_COLUMNS else ""
    folder = elided(_folder(hit), n_rest - _cells(words), look.ellipsis)
    parts = [(folder, DIM), (words, FOUND_BY), (mark, ABSENT)]
    rest = "".join(look.paint(text, colour) for text, colour in parts)
    return name + (" " * (n_name - _cells(name)) + rest if rest else "")


def _name(hit: Hit) -> str:
    return printable(hit.path.name)


def _folder(hit: Hit) -> str:
    return f"  {short_path(hit.path.parent)}"


def _words(hit: Hit) -> str:
    words = ", ".join(f'"{word}"' for word in hit.words)
    return f"  words: {printable(words)}" if words else ""


def _mark(hit: Hit) -> str:
    return "" if hit.is_present else " (not there now)"


def _rest(hit: Hit) -> str:
    return _folder(hit) + _words(hit) + _mark(hit)


def elided(text: str, n_columns: int, ellipsis: str = "…") -> str:
    """Return a text that takes so many columns of a terminal at most: its middle is left out.

    It is empty where it would take FEWEST_COLUMNS and gets fewer.
    """
    if _cells(text) <= n_columns:
        return text
    if n_columns < FEWEST_COLUMNS:
        return ""
    left = n_columns - len(ellipsis)
    head = _longest(text, (left + 1) // 2)
    tail = _longest(text, left - _cells(head), from_end=True)
    while tail and _cells(tail[0]) == 0:  # a mark that belongs to what is left out
        tail = tail[1:]
    return head + ellipsis + tail


def _longest(text: str, n_columns: int, *, from_end: bool = False) -> str:
    """The longest beginning, or end, of a text that takes so many columns at most."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _cells(text[-middle:] if from_end else text[:middle]) <= n_columns:
            low = middle
        else:
            high = middle - 1
    return text[len(text) - low :] if from_end else text[:low]


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # 10 ms that a query without such names does not spend

    return cell_len(text)
