"""The exceptions that soundsearch raises.

    SoundsearchError            root: one line for the user
    ├── AudioError              a recording cannot be used, with its cause
    ├── BundleError             an encoder bundle is missing, damaged or does not fit
    ├── ConfigError             a setting is unknown, missing or impossible
    ├── StoreError              an index folder or database cannot be used
    │   ├── IndexBusyError      another process writes the index
    │   └── IndexMismatchError  the index was built with another encoder
    ├── QueryError              an argument of a search is not valid
    ├── NoHomeError             no folder is named, and the user has no home folder
    └── BenchmarkError          a benchmark cannot be run, or its results cannot be read

A message names the thing, the value found, the value expected and the way out.
"""

from __future__ import annotations

from enum import StrEnum


class SoundsearchError(Exception):
    """Root of all exceptions of soundsearch; its text is one line for the user."""


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
    FATAL = "ends its process"  # such as a decoder that crashes
    NOT_EMBEDDED = "not embedded yet"  # no failure: its file was away when the encoder changed

    @property
    def is_passing(self) -> bool:
        """Whether the cause may pass: stored embeddings stay valid, and the next run tries again."""
        return self in _PASSING


_PASSING = frozenset({Cause.NOT_PERMITTED, Cause.VANISHED, Cause.UNREADABLE, Cause.NOT_HANDLED})


class AudioError(SoundsearchError):
    """A recording cannot be decoded, or holds nothing to embed.

    Attributes:
        cause: Group of the failure.
        reason: What is wrong, without the name of the file, which the caller adds.
    """

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class BundleError(SoundsearchError):
    """An encoder bundle is missing, damaged, or of a format that this version does not read."""


class ConfigError(SoundsearchError):
    """A setting is unknown, missing, of another type, or impossible."""


class StoreError(SoundsearchError):
    """An index folder or its database cannot be opened, read or written."""


class IndexBusyError(StoreError):
    """Another process holds the writer's lock of the index."""


class IndexMismatchError(StoreError):
    """The index was built with another encoder than the one given."""


class QueryError(SoundsearchError):
    """An argument of a search is not valid, such as an empty text."""


class NoHomeError(SoundsearchError):
    """No folder is named, and the user has no home folder for the default one."""


class BenchmarkError(SoundsearchError):
    """A benchmark cannot be run, or its results cannot be read or compared."""
