"""How long the sound of a container is, by what its header declares."""

from __future__ import annotations

from typing import Any, BinaryIO

from soundsearch.audio.ffmpeg_container import form_of, start_of
from soundsearch.audio.headers import asf_facts, clock_s, mpeg_count

#: Containers whose header declares the length. Of others that know a bit rate, FFmpeg guesses it.
DECLARE_LENGTH = frozenset(["mov", "caf"])
#: Containers that declare no length: what FFmpeg says is the last time stamp of any stream.
DECLARE_NONE = frozenset(["mpegts", "mpeg", "nut", "ogg", "wtv"])


def declared_length_s(
    container: Any, stream: Any, file: BinaryIO, sample_rate: int, start_s: float
) -> float | None:
    """How long a sound track is by the header, in seconds; None where FFmpeg only guesses.

    container, stream: PyAV's. sample_rate: of the track, in Hz. start_s: the second, on a player's
    clock, at which it begins.
    """
    form = form_of(container)
    is_alone = len(container.streams) == 1  # else a length may be that of the pictures
    is_in_fragments = form == "mov" and not stream.frames
    if form in DECLARE_NONE or (is_in_fragments and not is_alone):
        return None
    is_guessed = bool(stream.codec_context.bit_rate) and form not in DECLARE_LENGTH
    all_s = _container_s(container) if is_alone else None
    if form == "matroska":  # counts from 0, wherever the sound begins
        end_s = None if is_guessed else all_s
        if "DURATION" in stream.metadata:
            end_s = clock_s(stream.metadata["DURATION"])
        return None if end_s is None else end_s - start_s - start_of(container)
    if form == "asf":
        facts = asf_facts(file) if is_alone else None
        return None if facts is None else facts.seconds - max(0.0, start_of(container))
    if stream.codec_context.name.startswith("pcm_") and form == "caf":
        return float(stream.frames) / sample_rate or None
    seconds = all_s
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    if form == "mp3":
        return _mp3_s(file, sample_rate, seconds)
    return None if is_guessed else seconds


def _container_s(container: Any) -> float | None:
    import av

    return None if container.duration is None else float(container.duration / av.time_base)


def _mp3_s(file: BinaryIO, sample_rate: int, guessed_s: float | None) -> float | None:
    """By the count in the first MPEG frame.

    Of files put one after the other, FFmpeg guesses all, and the first one counts its own.
    """
    count = mpeg_count(file)
    if count is None or guessed_s is None:
        return None
    frame_samples = 1152 if sample_rate >= 32000 else 576
    return min(guessed_s, count.n_mpeg_frames * frame_samples / sample_rate)
