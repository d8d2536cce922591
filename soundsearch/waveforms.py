"""The outline of an indexed recording's waveform: stored while indexing, or made when asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from soundsearch.audio.peaks import Peaks
from soundsearch.audio.recording import AudioFile
from soundsearch.errors import StoreError
from soundsearch.files import has_changed
from soundsearch.store import Recording, Store


def decoded_peaks(path: Path) -> Peaks:
    """Return the outline of a file, which is decoded as a whole. Raises AudioError."""
    with AudioFile(path) as file:
        for _ in file.channel_blocks():
            pass
        return file.peaks


def peaks_of(
    store: Store,
    recording: Recording,
    path: Path,
    decode: Callable[[Path], Peaks] = decoded_peaks,
) -> Peaks:
    """Return the outline of a recording.

    An index of an earlier version has none: then the file is decoded, and the outline is stored if
    the file is the one that was indexed and nobody else writes the index now. decode: what makes
    the outline of a file.
    Raises AudioError where there is no outline and the file cannot be read, StoreError where the
    index cannot.
    """
    with store.snapshot() as reader:
        stored = reader.peaks(recording.id)
    if stored is not None:
        return stored
    peaks = decode(path)
    if not has_changed(path, recording.facts):
        _store(store, recording, peaks)
    return peaks


def _store(store: Store, recording: Recording, peaks: Peaks) -> None:
    with (
        contextlib.suppress(StoreError),  # another process writes, say: made again next time
        store.writer() as writer,
        writer.transaction(new_revision=False) as changes,
    ):
        changes.add_peaks(recording, peaks)
