"""libsndfile: WAV, AIFF, FLAC, Ogg, CAF, W64, RF64 and more to blocks of samples."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from soundsearch.arrays import Array
from soundsearch.audio.blocks import block_length
from soundsearch.audio.decoder import DeclaredLessError, GaveUpError
from soundsearch.audio.headers import OPEN_END_BYTES, goes_on
from soundsearch.audio.understated import Understated

#: libsndfile gives so many samples as the length of a file that it cannot measure.
UNKNOWN_LENGTH = 1 << 62
#: Encodings of libsndfile with more than 16 bits a sample.
DEEP_SUBTYPES = frozenset(
    ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"]
)
#: So much less sound than the header declares is damage; codecs round by less.
LOST_S = 0.1
#: How libsndfile's log says that a WAV, AIFF or AU file ends before its sound should.
CUT_SHORT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
#: The same of W64: the sizes of the whole file, and then that of the sound.
CUT_SHORT_W64 = re.compile(
    r"^riff *: (\d+) \(should be (\d+)\)$.*?^data *: (\d+)$", re.MULTILINE | re.DOTALL
)
#: The same of RF64: the sizes of the whole file, then the samples found and those declared.
CUT_SHORT_RF64 = re.compile(
    r"^ *Riff size *: (\d+) \(should be (\d+)\)$.*?"
    r"^\*\*\* Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)",
    re.MULTILINE | re.DOTALL,
)


#: Encodings in which each sample stands by itself, and formats in which libsndfile finds one of them
#: at once; FLAC has blocks that say which samples they hold.
PLAIN_SUBTYPES = frozenset(
    ["PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
SEEKABLE = frozenset(["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])


class SndfileSource:
    """A file as libsndfile reads it, through callbacks, which no exception may leave.

    error: What ended the last read, None while all goes well.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.tell, self.read = file.tell, file.read
        self._file = cast(io.RawIOBase, file)
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file; a place before it is its beginning."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.seek(0)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer; returns how many bytes came, 0 where reading fails."""
        try:
            return self._file.readinto(buffer) or 0
        except OSError as error:
            self.error = error
            return 0


class SndfileDecoder:
    """A `Decoder`.

    Args:
        file: Opened for reading, at its beginning.
        understated: Where the sound lies in a file whose header declares less of it.

    Raises:
        GaveUpError: libsndfile cannot open it, or does not know how long it is.
    """

    n_damaged = 0
    start_s = 0.0
    lost_s = LOST_S
    has_all_packets = False
    note: str | None = None

    def __init__(self, file: BinaryIO, understated: Understated | None = None) -> None:
        import soundfile

        self._n_samples = 0
        self._file = file
        self._error = soundfile.LibsndfileError
        self._source: SndfileSource | None = None
        if understated is not None:
            self._source = SndfileSource(understated.with_header(file))
        elif not isinstance(file, io.FileIO):
            self._source = SndfileSource(file)
        try:
            self._sound = soundfile.SoundFile(self._source or file.fileno(), closefd=False)
        except self._error as error:
            raise GaveUpError(str(error)) from error
        self.sample_rate: int = self._sound.samplerate
        self.n_channels: int = self._sound.channels
        self.format: str = self._sound.format if understated is None else understated.form
        self.bits = 24 if self._sound.subtype in DEEP_SUBTYPES else 16
        if self._sound.frames >= UNKNOWN_LENGTH:
            self._sound.close()
            raise GaveUpError("libsndfile does not know how long it is")
        self.declared_s: float | None = (
            declared_length(self._sound.frames, self._sound.extra_info) / self.sample_rate
        )

    @property
    def decoded_s(self) -> float:
        """Seconds of sound so far."""
        return self._n_samples / self.sample_rate

    def skip(self, n_samples: int) -> int:
        """Go on later, see `AudioFile.skip`."""
        if self._sound.format not in SEEKABLE or self._sound.subtype not in PLAIN_SUBTYPES:
            return 0
        try:
            self._n_samples = self._sound.seek(max(0, min(n_samples, self._sound.frames - 1)))
        except self._error:
            self._n_samples = 0
        return self._n_samples

    def blocks(self) -> Iterator[Array]:
        """Blocks (channel, time) float32, in order. Raises GaveUpError where it cannot go on."""
        length = block_length(self.n_channels)
        while True:
            try:
                block = self._sound.read(length, dtype="float32", always_2d=True)
            except self._error as error:
                raise GaveUpError(str(error)) from error
            if self._source is not None and self._source.error is not None:
                raise GaveUpError(str(self._source.error))
            if len(block) == 0:
                break
            self._n_samples += len(block)
            yield block.T
        if self.format in ("FLAC", "OGG") and goes_on(self._file, self.format):
            raise DeclaredLessError("more follows than its header declares")

    def close(self) -> None:
        """Let the library go of the file, which stays open."""
        self._sound.close()


def declared_length(n_samples: int, log: str) -> float:
    """Samples of a channel that the header declares.

    n_samples: those that libsndfile finds: fewer than declared in a file that is cut short. log:
    what it notes about the file.
    """
    declared = found = 0
    if cut := CUT_SHORT.search(log):
        declared, found = int(cut[1]), int(cut[2])
        if declared >= OPEN_END_BYTES:
            return n_samples
    elif cut := CUT_SHORT_W64.search(log):
        declared = int(cut[3])
        found = declared - int(cut[1]) + int(cut[2])
    elif (cut := CUT_SHORT_RF64.search(log)) and int(cut[1]) > int(cut[2]):
        declared, found = int(cut[4]), int(cut[3])
    return n_samples * declared / found if found > 0 else n_samples
