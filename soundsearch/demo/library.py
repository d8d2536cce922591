"""Write the demo library: the shipped recordings, mixtures of them, and their credits."""

from __future__ import annotations

import filecmp
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soundsearch.arrays import Array
from soundsearch.errors import SoundsearchError
from soundsearch.files import write_bytes

DATA = Path(__file__).parent
RECORDINGS = DATA / "recordings"
CREDITS = "credits.csv"
#: Sample rate of the mixtures in Hz, which is that of every recording in them.
SAMPLE_RATE = 24_000
#: Each recording in a mixture fades in and out over this time, so that no cut clicks.
FADE_S = 0.05
#: A mixture that would be louder than this is turned down to it.
PEAK = 0.9


@dataclass(frozen=True)
class Placed:
    """A recording in a mixture.

    recording: its path below `RECORDINGS`. start_s: where it starts in the mixture, in seconds.
    gain_db: how much louder it is made.
    """

    recording: str
    start_s: float
    gain_db: float = 0.0


@dataclass(frozen=True)
class Mixture:
    """A mono WAV file that is made of shipped recordings.

    path: relative to the library, with forward slashes. duration_s: exact; what would last longer
    is cut. parts: the recordings, in the order in which they start.
    """

    path: str
    duration_s: float
    parts: tuple[Placed, ...]

    @property
    def n_samples(self) -> int:
        """Samples in the file."""
        return round(self.duration_s * SAMPLE_RATE)

    @property
    def comment(self) -> str:
        """What the file itself says of its origin; by it the file is recognised later."""
        names = " and ".join(dict.fromkeys(part.recording for part in self.parts))
        return f"soundsearch demo: mixed from {names}"


RAIN = "Nature/ZOOM0007.opus"
PUPPY = "Animals/puppy_bark.opus"
THUNDER = "Nature/thunder roll far.opus"
CROW = "Animals/crow_2.opus"

MIXTURES = (
    Mixture(
        "Mixes/dog barking in rain.wav",
        10.0,
        (Placed(RAIN, 0.0), Placed(PUPPY, 2.0), Placed(PUPPY, 6.5)),
    ),
    Mixture(
        "Mixes/storm_v2_FINAL.wav",
        10.0,
        (Placed(RAIN, 0.0), Placed(THUNDER, 3.0)),
    ),
    Mixture(
        "Mixes/crows by the stream.wav",
        6.0,
        (Placed("Nature/Stream in a meadow.opus", 0.0), Placed(CROW, 2.0)),
    ),
    Mixture(
        "Field recordings/ZOOM0012.wav",
        57.0,
        (
            Placed(RAIN, 0.0),
            Placed(RAIN, 9.95),
            # It goes on raining a little.
            *(Placed(RAIN, 19.9 + 9.95 * i, -10.0) for i in range(4)),
            Placed(THUNDER, 20.0),
            Placed(CROW, 28.0),
            Placed("Animals/crow_4.opus", 32.0),
            Placed("City/church bells sunday.opus", 37.0, 6.0),
            Placed("Doors/wooden gate open.opus", 50.0),
            Placed("Doors/DOORMisc_Fence Gate Close_CDDA.opus", 53.0),
        ),
    ),
)


@dataclass(frozen=True)
class Written:
    """The recordings of a demo library, as absolute paths: those now written, those there before."""

    new: list[Path]
    unchanged: list[Path]


@dataclass(frozen=True)
class _File:
    """A file of the library.

    content: makes what it is to hold. is_in_place: whether the file at `target` holds it already.
    """

    target: Path
    content: Callable[[], bytes]
    is_in_place: Callable[[], bool]


def shipped_recordings() -> list[Path]:
    """The recordings that come with the package, in the order of their paths."""
    return sorted(RECORDINGS.glob("*/*.opus"))


def write_library(folder: Path) -> Written:
    """Write the demo library below `folder`, with its credits beside the sounds.

    Folders are made as needed. A file of the library that is there already stays as it is. Where
    anything else has the name of one, nothing is written at all.

    Returns:
        The recordings, without the credits: those now written and those there before.

    Raises:
        SoundsearchError: something else has such a name, or the disk refuses.
    """
    folder = Path(folder).absolute()
    sounds = [
        _copy_of(path, folder / path.relative_to(RECORDINGS)) for path in shipped_recordings()
    ]
    sounds += [_file_of(mixture, folder) for mixture in MIXTURES]
    files = [_copy_of(DATA / CREDITS, folder / CREDITS), *sounds]
    missing = [file for file in files if not _is_in_place(file)]
    for file in missing:
        _make_folder(file.target.parent)
    for file in missing:
        try:
            write_bytes(file.target, file.content())
        except OSError as error:
            raise _refused(file.target, error) from error
    new = [file.target for file in sounds if file in missing]
    return Written(new, [file.target for file in sounds if file not in missing])


def _copy_of(source: Path, target: Path) -> _File:
    return _File(target, source.read_bytes, lambda: filecmp.cmp(source, target, shallow=False))


def _file_of(mixture: Mixture, folder: Path) -> _File:
    target = folder / mixture.path
    return _File(target, lambda: _wav_bytes(mixture), lambda: _holds(target, mixture))


def _is_in_place(file: _File) -> bool:
    """Whether the file is there already. Raises SoundsearchError if something else is there."""
    try:
        if not os.path.lexists(file.target):
            return False
        if file.target.is_file() and file.is_in_place():
            return True
    except OSError as error:
        raise _refused(file.target, error) from error
    raise SoundsearchError(
        f"{file.target}: exists and is not the demo's; choose an empty folder or move it away"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SoundsearchError(
            f"{error.filename}: a folder is needed there and it is something else; "
            "choose another folder or move it away"
        ) from error
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(target: Path, error: OSError) -> SoundsearchError:
    return SoundsearchError(
        f"{target}: the demo cannot be written ({error.strerror or error}); "
        "choose a folder that can be written to"
    )


def _holds(path: Path, mixture: Mixture) -> bool:
    """Whether a file is this mixture.

    Its samples are not compared: other versions of a decoder round them otherwise.
    """
    import soundfile

    try:
        with open(path, "rb") as opened, soundfile.SoundFile(opened) as file:
            return bool(file.comment == mixture.comment and file.frames == mixture.n_samples)
    except soundfile.LibsndfileError:
        return False


def _wav_bytes(mixture: Mixture) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLE_RATE, channels=1, format="WAV", subtype="PCM_16"
    ) as file:
        file.comment = mixture.comment
        file.write(mix(mixture))
    return buffer.getvalue()


def mix(mixture: Mixture) -> Array:
    """The sound of a mixture, (time,) float32 at SAMPLE_RATE Hz."""
    from soundsearch.audio.recording import AudioFile

    mixed = np.zeros(mixture.n_samples, np.float32)
    for part in mixture.parts:
        with AudioFile(RECORDINGS / part.recording) as file:
            waveform = np.concatenate(list(file.blocks()))
        start = round(part.start_s * SAMPLE_RATE)
        waveform = _faded(waveform[: mixed.size - start]) * np.float32(10 ** (part.gain_db / 20))
        mixed[start : start + waveform.size] += waveform
    return mixed * np.float32(min(1.0, PEAK / float(np.abs(mixed).max())))


def _faded(waveform: Array) -> Array:
    """A copy of (time,) that rises from zero and falls back to it."""
    fade = np.linspace(0, 1, round(FADE_S * SAMPLE_RATE), dtype=np.float32)
    faded = waveform.copy()
    faded[: fade.size] *= fade
    faded[-fade.size :] *= fade[::-1]
    return faded
