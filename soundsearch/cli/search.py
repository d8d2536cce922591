"""`soundsearch query`, `similar` and `describe`: questions to the index."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from soundsearch.choices import PASSAGES, By
from soundsearch.cli.compound_options import CompoundOptions, PassageOptions
from soundsearch.cli.hit_options import HitOptions
from soundsearch.cli.options import (
    DeviceChoice,
    IndexFolder,
    Json,
    Null,
    Paths,
    TopK,
    path_option,
    shared_options,
)
from soundsearch.cli.questions import FilterTexts, check_spelling, say_how_many
from soundsearch.cli.streams import look, note
from soundsearch.errors import QueryError
from soundsearch.layout import hit_lines
from soundsearch.render import (
    hits_facts,
    label_lines,
    labels_facts,
    note_on_scores,
    parts_facts,
    path_bytes,
    text_facts,
    to_json,
)
from soundsearch.urls import path_of

if TYPE_CHECKING:
    from soundsearch.search.hits import Hit
    from soundsearch.search.index import Index

#: What is said where a search by words finds nothing.
NOTHING_NAMED_SO = "no name, folder or metadata holds these words; try others, or leave out --by"
#: A text on standard input is no longer than this.
MOST_BYTES = 1_000_000


def _check_score(value: float | None) -> float | None:
    if value is not None and not -1 <= value <= 1:  # nor is NaN
        raise typer.BadParameter(f"{value} is no score, expected a number from -1 to 1")
    return value


MinScore = Annotated[
    float | None,
    typer.Option(
        callback=_check_score,
        help="Leave out hits with a lower score (-1 to 1); from 0.5 on a hit fits, if the encoder "
        "is calibrated.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="The encoder that the index was built with, by its name or folder, should the index's "
        "own copy be lost."
    ),
]
ByOption = Annotated[
    By,
    typer.Option(
        "--by", help="Search by sound, by the words of names, folders and metadata, or by both."
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What `query` and `similar` both take, see `soundsearch.cli.options.shared_options`."""

    index: IndexFolder = None
    top_k: TopK = 10
    min_score: MinScore = None
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="FOLDER",
            help="Only recordings in this folder (repeatable; a recording may be named too).",
        ),
    ] = None
    filters: FilterTexts = None
    passages: Annotated[
        int,
        typer.Option(
            min=0, help="At most so many passages of each recording, the best; 0 for none."
        ),
    ] = PASSAGES
    unique: Annotated[
        bool,
        typer.Option(
            "--unique/--no-unique",
            help="Show recordings of the same sound as one, with how many other places it lies in.",
        ),
    ] = True
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Compare all windows; an index of more than 100,000 is searched approximately "
            "otherwise.",
        ),
    ] = False
    model: Model = None
    device: DeviceChoice = "auto"
    paths: Paths = False
    null: Null = False
    json: Json = False

    def opened(self) -> Index:
        """Open the index that is meant."""
        import soundsearch

        return soundsearch.open_index(self.index, device=self.device, model=self.model)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a search that are no part of the question."""
        names = ("top_k", "min_score", "within", "passages", "unique", "exact")
        return {name: getattr(self, name) for name in names} | {"filters": self.filters or ()}


@shared_options(HitOptions, "actions")
@shared_options(CompoundOptions, "compound")
@shared_options(SearchOptions)
def query(
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to hear, in words, and filters; - reads it from stdin.", show_default=False
        ),
    ] = None,
    by: ByOption = "both",
    *,
    options: SearchOptions,
    compound: CompoundOptions,
    actions: HitOptions,
) -> None:
    """Find recordings by words.

    Prints rank, score, the seconds to listen at, name and folder, and the words it was found by;
    below, other passages of the recording that stand out. Into a pipe goes the path, with the words
    in brackets. The score tells how well the sound fits: it goes from 0 to 1 and means the same for every
    query; of an encoder that is not calibrated, it is the cosine. "without rain" and "no rain" in
    the text mean --minus rain.

    Filters may stand among the words, as in the example. Without any words, recordings that fit
    them are listed by path, without a score.

    Example: soundsearch query "dog barking in rain duration:<10 -music" -k 5
    """
    words = _typed(text) if text else None
    what: dict[str, Any] = {"text": words, **compound.arguments}
    if words is None and not (options.filters or options.within or what["plus"]):
        raise typer.BadParameter("say what to hear, or give --filter", param_hint="TEXT")
    with options.opened() as opened:
        hits = opened.search(**what, by=by, **options.arguments)
        spelling = check_spelling(opened, words, by)
        question = {
            **text_facts(opened, words, by, spelling, truncated=options.json),
            **parts_facts(what, options.filters or ()),
        }
        if hits and hits[0].score is None:
            say_how_many(opened, len(hits), question["filters"], options.within)
        _print_hits(opened, question, hits, options)
    _act(hits, actions)


def _typed(text: list[str]) -> str:
    """The question as it was typed, or standard input for a dash."""
    typed = os.fsencode(" ".join(text))  # bytes, since a locale may know no UTF-8
    if typed == b"-":
        typed = sys.stdin.buffer.read(MOST_BYTES + 1)
        if len(typed) > MOST_BYTES:
            raise QueryError(
                f"standard input is longer than {MOST_BYTES:,} bytes; give a few words"
            )
        typed = typed.strip()
    return typed.decode("utf-8", "replace")


@shared_options(HitOptions, "actions")
@shared_options(CompoundOptions, "compound")
@shared_options(PassageOptions, "passage")
@shared_options(SearchOptions)
def similar(
    file: Annotated[
        list[Path],
        typer.Argument(
            readable=False, help="A recording, indexed or not, or several; - reads one from stdin."
        ),
    ],
    *,
    options: SearchOptions,
    passage: PassageOptions,
    compound: CompoundOptions,
    actions: HitOptions,
) -> None:
    """Find recordings that sound like this one, or like several together.

    Prints what `query` prints.

    Example: soundsearch similar takes/door_03.wav --plus "in a large hall"
    """
    if file.count(Path("-")) > 1:
        raise typer.BadParameter("- is given twice, standard input holds one recording")
    audio = [_named(one) for one in file]
    what: dict[str, Any] = {"audio": audio, **passage.arguments(len(file)), **compound.arguments}
    with options.opened() as opened:
        hits = opened.search(**what, **options.arguments)
        question = {"audio": _source_of(audio[0]), **parts_facts(what, options.filters or ())}
        _print_hits(opened, question, hits, options)
    _act(hits, actions)


def describe(
    file: Annotated[
        Path,
        typer.Argument(readable=False, help="A recording, indexed or not; - reads it from stdin."),
    ],
    captions: Annotated[
        Path | None,
        path_option("Rank the lines of this text file instead of the built-in sound words."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Encoder: a name from `models list`, or a folder.")
    ] = None,
    top_k: TopK = 10,
    device: DeviceChoice = "auto",
    json: Json = False,
) -> None:
    """Describe in words what a recording holds.

    Needs no index. Prints rank, score, the seconds where it fits best, and the words.

    Example: soundsearch describe unknown_042.wav -k 5
    """
    from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
    from soundsearch.encoder.towers import Encoder
    from soundsearch.search.describe import describe as describe_file
    from soundsearch.store import PinnedEncoder
    from soundsearch.vocabulary import load_vocabulary

    audio = _named(file)
    texts = load_vocabulary(captions)
    encoder = Encoder(find_bundle(model or DEFAULT_MODEL), device)
    labels = describe_file(encoder, audio, texts, top_k=top_k, as_labels=captions is None)
    if json:
        pinned = PinnedEncoder.of(encoder.bundle)
        typer.echo(to_json(labels_facts(_source_of(audio), pinned, labels)))
    else:
        for line in label_lines(labels):
            typer.echo(line)


def _named(file: Path) -> Path | BinaryIO:
    """The recording that an argument names: a path, or standard input for a dash."""
    if str(file) != "-":
        return file
    if sys.stdin.isatty():
        raise typer.BadParameter("- reads a recording from standard input, which is a terminal")
    return sys.stdin.buffer


def _source_of(audio: Path | BinaryIO) -> str:
    return str(path_of(audio).absolute()) if isinstance(audio, Path) else "-"


def _print_hits(
    opened: Index, question: dict[str, Any], hits: list[Hit], options: SearchOptions
) -> None:
    if not hits:
        empty = len(opened.vectors) == 0
        typer.echo(
            "nothing is indexed yet; add a folder with: soundsearch index FOLDER"
            if empty
            else NOTHING_NAMED_SO
            if question.get("by") == "words"
            else "no recording that fits the filters is found; try fewer of them"
            if question["filters"]
            else "no recording fits; try other words, a lower --min-score or a wider --in",
            err=True,
        )
    elif (line := note_on_scores(hits)) is not None:
        note(line)
    if options.json:
        typer.echo(to_json(hits_facts(question, opened.pinned, hits)))
    elif options.paths or options.null:
        there = [hit for hit in hits if hit.is_present]
        if len(there) < len(hits):
            note(f"left out, not there now: {len(hits) - len(there)}")
        sys.stdout.buffer.write(path_bytes(there, b"\0" if options.null else b"\n"))
        sys.stdout.buffer.flush()
    else:
        seen = look()
        for line in hit_lines(hits, seen):
            typer.echo(line, color=seen.colour)


def _act(hits: Sequence[Hit], options: HitOptions) -> None:
    """What the options ask for, once the hits are printed and the index is closed."""
    if options.any:
        from soundsearch.cli.hit_actions import act

        sys.stdout.flush()  # the list is there before a player starts
        act(hits, options)
