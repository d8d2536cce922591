"""What becomes of an example's sound before its features: mixed, changed, tagged by a teacher.

A mixture has two or three examples that lie near each other in the order, so that the shards of a
block are enough. Its text is composed of theirs; the training process embeds it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from soundsearch.audio.clips import n_samples_of_stretch
from soundsearch.audio.resampling import resample
from soundsearch.audio.windows import fill_up
from trainer.augmentation import PEAK, WaveformConfig, change_recording, change_window, level_of
from trainer.data.example import ExampleFacts
from trainer.data.order import Order
from trainer.data.shard_folder import ShardFolder
from trainer.front_ends import FrontEnd, cut_stretch, window_features
from trainer.limits import must_be
from trainer.mixtures import MOST, Kind, MixtureConfig, arrange, captions_of
from trainer.taggers import Tagger, open_tagger, tag

Array = NDArray[np.float32]

#: How far the members of a mixture lie apart in the order, at most.
NEAR = 256
#: Bytes of a mixture's text; a longer one is cut off, as CLIP cuts it.
TEXT_BYTES = 512
#: Draws of another example before a mixture is given up, where there are few.
TRIES = 16


@dataclass(frozen=True, kw_only=True)
class ChangesConfig:
    """How the sound of training examples is changed.

    Attributes:
        mix: Share of the examples that become mixtures.
        mixtures: How these are made.
        augment: Whether waveforms are changed.
        waveforms: How strongly.
        teacher: File of a tagger whose soft labels are learnt too, see `trainer/taggers.py`.
        classes: CSV with the names of its classes, if not the one beside it.
    """

    mix: float = 0.0
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    augment: bool = False
    waveforms: WaveformConfig = field(default_factory=WaveformConfig)
    teacher: str | None = None
    classes: str | None = None

    def __post_init__(self) -> None:
        must_be("0 to 1", 0 <= self.mix <= 1, mix=self.mix)
        if self.classes is not None and self.teacher is None:
            raise ValueError("classes are those of a teacher, and there is none")

    def __bool__(self) -> bool:
        """Whether anything is changed, so that sound has to be decoded."""
        return bool(self.mix or self.augment or self.teacher)

    def tagger(self) -> Tagger | None:
        """Open the teacher. Raises TaggerError."""
        if self.teacher is None:
            return None
        return open_tagger(Path(self.teacher), Path(self.classes) if self.classes else None)


@dataclass(frozen=True)
class Member:
    """An example of a mixture. place: its shard, and its number there."""

    place: tuple[int, int]
    sound: Array
    rate: int


class Changes:
    """Makes the changed features of examples.

    Attributes:
        shapes: Of what is written beside features, for each example, and its types: numbers of what
            sounds (-1 for nothing), the bytes of a mixture's text (zeros for none), and logits.
    """

    def __init__(
        self,
        config: ChangesConfig,
        folder: ShardFolder,
        order: Order,
        front_end: FrontEnd,
        names_of: Callable[[ExampleFacts], Sequence[str]],
        tagger: Tagger | None = None,
    ) -> None:
        """names_of: what an example may be called in the text of a mixture."""
        self._config, self._folder, self._order = config, folder, order
        self._front_end, self._names_of, self._tagger = front_end, names_of, tagger
        n_classes = len(tagger.names) if tagger else 0
        self.shapes = (
            ((MOST,), torch.int64),
            ((TEXT_BYTES,), torch.uint8),
            ((n_classes,), torch.float32),
        )

    def fill(
        self,
        position: int,
        generator: np.random.Generator,
        features: NDArray[np.floating],
        members: NDArray[np.int64],
        text: NDArray[np.uint8],
        logits: Array,
    ) -> None:
        """Write features (n_mels, n_frames) and the rest of the example at a position into arrays.

        Raises:
            AudioError: A sound cannot be used.
            ShardError: A shard cannot be read.
        """
        config = self._config
        kind, places = Kind.SINGLE, [self._order.place(position)]
        if generator.random() < config.mix:
            kind, n = config.mixtures.draw(generator)
            places += self._others(position, places[0], n - 1, generator)
        if len(places) == 1:
            kind = Kind.SINGLE
        members[:], text[:] = -1, 0
        members[: len(places)] = [shard * (1 << 32) + example for shard, example in places]
        found = [self._member(place, generator) for place in places]
        rate = found[0].rate
        window = self._window(found, kind, rate, generator)
        if len(found) > 1:
            content = self._text(places, kind, generator).encode()[:TEXT_BYTES]
            text[: len(content)] = np.frombuffer(content, np.uint8)
        if config.augment:
            window = change_window(window, rate, generator, config.waveforms)
        features[:] = window_features(window, rate, self._front_end, generator)
        if self._tagger:
            logits[:] = tag(self._tagger, window, rate)

    def _others(
        self, position: int, first: tuple[int, int], n: int, generator: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Places of up to n other examples near a position."""
        found: list[tuple[int, int]] = []
        for _ in range(TRIES):
            near = abs(position + int(generator.integers(-NEAR, NEAR + 1)))
            place = self._order.place(near)
            if place != first and place not in found:
                found.append(place)
            if len(found) == n:
                break
        return found

    def _member(self, place: tuple[int, int], generator: np.random.Generator) -> Member:
        shard, example = place
        channels, sample_rate = self._folder.open(shard).audio(example)
        audio = dataclasses.replace(self._front_end.audio, short="keep")
        sound = cut_stretch(channels, sample_rate, audio, generator)
        return Member(place, sound, audio.rate_for(sample_rate))

    def _window(
        self,
        members: Sequence[Member],
        kind: Kind,
        rate: int,
        generator: np.random.Generator,
    ) -> Array:
        """One window of the members' sounds, at the rate of the first."""
        config, audio = self._config, self._front_end.audio
        size = n_samples_of_stretch(rate, audio)
        sounds = []
        for member in members:
            sound = np.concatenate(list(resample([member.sound], member.rate, rate)))
            if config.augment:
                sound = change_recording(sound, rate, size, generator, config.waveforms)
            sounds.append(sound)
        if kind is Kind.SINGLE:
            (sound,) = sounds
            return sound if sound.size >= size else fill_up(sound, size, audio.short)
        window = arrange(sounds, kind, rate, size, generator, config.mixtures)
        window = window * np.float32(level_of(sounds[0], rate))
        return window * np.float32(min(1.0, PEAK / max(float(np.abs(window).max()), 1e-6)))

    def _text(
        self, places: Sequence[tuple[int, int]], kind: Kind, generator: np.random.Generator
    ) -> str:
        names = []
        for shard, example in places:
            known = self._names_of(self._folder.open(shard).facts(example))
            names.append(known[int(generator.integers(len(known)))])
        forms = captions_of(names, kind)
        return forms[int(generator.integers(len(forms)))]


def texts_in(rows: NDArray[np.uint8]) -> dict[int, str]:
    """Return the texts of a batch (n, TEXT_BYTES): row -> text, of mixtures alone."""
    return {
        int(i): bytes(rows[i]).rstrip(b"\0").decode("utf-8", "ignore")
        for i in np.flatnonzero(rows[:, 0])
    }
