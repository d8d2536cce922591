"""What recordings are chosen by, as plain values: a recording is chosen if all conditions hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: Numbers that are known of a recording, see `RecordingFacts`.
Fact = Literal["duration_s", "sample_rate", "n_channels", "mtime_ns"]
Relation = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True)
class Limits:
    """A fact that is in all of these relations to a number each."""

    fact: Fact
    bounds: tuple[tuple[Relation, float], ...]


@dataclass(frozen=True)
class Format:
    """A file that ends so, or is of this format. name: small letters and digits, no dot."""

    name: str


@dataclass(frozen=True)
class Holds:
    """Words that stand side by side, in this order, in a name, in folder names or in metadata.

    Attributes:
        text: The words; capital letters and accents do not count.
        is_exact: Whether these very forms are meant; otherwise those of one stem are alike.
        only_metadata: Whether names do not count.
    """

    text: str
    is_exact: bool = False
    only_metadata: bool = False


@dataclass(frozen=True)
class Within:
    """A file at this absolute path, or in this folder, however deep."""

    place: Path


@dataclass(frozen=True)
class FolderNamed:
    """A file in a folder of this name, or in folders of these names, one in the other.

    Folders of its root count, those above do not, nor do capital letters. names: one or more.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class AnyOf:
    """One of these conditions holds, or more."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The condition does not hold."""

    condition: Condition


Condition = Limits | Format | Holds | Within | FolderNamed | AnyOf | Not
