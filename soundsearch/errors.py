"""Everything soundsearch raises on purpose.

    SoundsearchError            one clear line for the person at the terminal
    ├── AudioError              a recording that cannot be used, with its cause
    ├── BundleError             an encoder bundle that is missing, damaged or unfit
    ├── ConfigError             a setting that is unknown, missing, or impossible
    ├── StoreError              an index folder or database that cannot be used
    │   ├── IndexBusyError      another process is writing the index
    │   └── IndexMismatchError  the index was built with another encoder
    ├── QueryError              a question that cannot be asked
    └── NoHomeError             a folder that lies in the user's home, which there is not

A message names the thing, the value found, the value expected and the way out.
"""

from __future__ import annotations

from enum import StrEnum


class SoundsearchError(Exception):
    """Root of the tree; its text is fit to be shown as it is."""


class Cause(StrEnum):
    """Why a recording cannot be used: the groups in which `soundsearch status` counts failures."""

    EMPTY = "empty file"
    NOT_AUDIO = "not audio"
    DAMAGED = "damaged"
    NO_SOUND = "no sound track"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    TOO_SLOW = "sample rate too low"
    TOO_FAST = "sample rate too high"
    NOT_FINITE = "not finite"
    SILENT = "silent"
    TRACKS = "several sound tracks"  # no failure: only one of them was read
    NOT_PERMITTED = "not permitted"
    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    NOT_HANDLED = "not handled"

    @property
    def is_passing(self) -> bool:
        """Whether it says nothing about the sound: what was known holds, and the next run tries again."""
        return self in _PASSING


_PASSING = frozenset({Cause.NOT_PERMITTED, Cause.VANISHED, Cause.UNREADABLE, Cause.NOT_HANDLED})


class AudioError(SoundsearchError):
    """A recording that cannot be decoded or holds nothing to embed.

    Only the reason is in the text; whoever reports it knows the file.
    """

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class BundleError(SoundsearchError):
    """An encoder bundle that is missing, damaged, or of a format this version does not know."""


class ConfigError(SoundsearchError):
    """A setting that is unknown, missing, of another type, or impossible."""


class StoreError(SoundsearchError):
    """An index folder or database that cannot be opened, read or written."""


class IndexBusyError(StoreError):
    """Another process holds the writer's lock of this index."""


class IndexMismatchError(StoreError):
    """The index pins one encoder and was asked to work with another."""


class QueryError(SoundsearchError):
    """A query that cannot be answered, such as an empty text."""


class NoHomeError(SoundsearchError):
    """A folder was not named, and the user has no home folder that it could lie in."""


class BenchmarkError(SoundsearchError):
    """A benchmark that cannot be run, or results that cannot be read or compared."""
