"""The catalogue of the demo library: which sounds there are, and how they become WAV files."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from soundsearch.demo import animals, home, machines, mixtures, music, nature, people, signals
from soundsearch.demo.studio import Studio, db
from soundsearch.errors import SoundsearchError

Recipe = Callable[[Studio], NDArray[np.float64]]
Subtype = Literal["PCM_16", "PCM_24"]

PEAK_DBFS = -3.0
NOISE_FLOOR_DBFS = -66.0
FADE_S = 0.012


@dataclass(frozen=True)
class DemoSound:
    """One recording of the demo library.

    path: relative to the library's folder, with forward slashes, e.g. "weather/heavy rain.wav".
    description: one plain sentence. sample_rate: Hz. n_channels: 1 or 2. duration_s: exact.
    subtype: how the samples are stored in the WAV file.
    event_s: start and end in seconds of the event that the description points at, where there is
        only one such stretch and it is short beside the recording; None elsewhere.
    """

    path: str
    description: str
    sample_rate: int
    n_channels: int
    duration_s: float
    subtype: Subtype
    recipe: Recipe = field(repr=False)
    event_s: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The file's name without folder and extension: "heavy rain"."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".wav")

    @property
    def n_samples(self) -> int:
        """Samples in each channel."""
        return round(self.duration_s * self.sample_rate)


def _sound(
    path: str,
    description: str,
    recipe: Recipe,
    duration_s: float,
    sample_rate: int = 44100,
    n_channels: int = 1,
    n_bits: int = 16,
) -> DemoSound:
    subtype: Subtype = "PCM_24" if n_bits == 24 else "PCM_16"
    return DemoSound(
        path + ".wav", description, sample_rate, n_channels, duration_s, subtype, recipe
    )


DEMO_SOUNDS: tuple[DemoSound, ...] = (
    _sound("weather/light rain", "Light rain falls on leaves.", nature.light_rain, 6.0),
    _sound("weather/heavy rain", "Heavy rain pours down.", nature.heavy_rain, 6.0, 44100, 2),
    _sound("weather/hail on a metal roof", "Hail rattles on a metal roof.", nature.hail, 4.0),
    _sound("weather/wind", "A steady wind blows through trees.", nature.wind, 6.0, 22050),
    _sound("weather/gusty wind", "Strong gusts of wind howl.", nature.gusty_wind, 8.0, 22050, 2),
    _sound("weather/thunder", "Thunder cracks and rolls away.", nature.thunder, 7.0, 22050, 2, 24),
    _sound("nature/ocean waves", "Waves break on a beach.", nature.ocean_waves, 12.0, 22050, 2),
    _sound("nature/stream", "A stream babbles over stones.", nature.stream, 6.0, 22050),
    _sound("nature/dripping water", "Water drips into a basin.", nature.dripping_water, 5.0),
    _sound("nature/campfire", "A wood fire crackles.", nature.fire, 6.0, 44100, 1, 24),
    _sound(
        "nature/earthquake",
        "The ground rumbles and things rattle.",
        nature.earthquake_rumble,
        6.0,
        22050,
    ),
    _sound("animals/dog barking", "A dog barks.", animals.dog_barking, 5.0, 22050),
    _sound("animals/cat meowing", "A cat meows three times.", animals.cat_meowing, 4.3, 22050),
    _sound("animals/rooster crowing", "A rooster crows.", animals.rooster_crowing, 5.0, 22050),
    _sound("animals/crow cawing", "A crow caws.", animals.crow_cawing, 4.0),
    _sound("animals/cow mooing", "A cow moos.", animals.cow_mooing, 5.2, 22050),
    _sound("animals/sheep bleating", "Sheep bleat.", animals.sheep_bleating, 4.2),
    _sound("animals/wolf howling", "Wolves howl.", animals.wolf_howling, 8.0, 22050, 2),
    _sound("animals/owl hooting", "An owl hoots at night.", animals.owl_hooting, 8.5, 22050),
    _sound("animals/cuckoo", "A cuckoo calls in the woods.", animals.cuckoo, 6.0, 22050, 2),
    _sound("animals/songbird", "A small bird sings.", animals.songbird, 6.0, 48000),
    _sound("animals/blackbird", "A blackbird sings at dusk.", animals.blackbird, 7.0, 48000, 1, 24),
    _sound("animals/sparrows", "Sparrows chirp in a hedge.", animals.sparrows, 5.0, 48000, 2),
    _sound("animals/seagulls", "Seagulls cry.", animals.seagulls, 6.0),
    _sound("animals/woodpecker", "A woodpecker drums on a tree.", animals.woodpecker, 6.0),
    _sound("animals/frog croaking", "A frog croaks.", animals.frog_croaking, 5.0, 22050),
    _sound("animals/crickets", "Crickets chirp at night.", animals.crickets, 6.0),
    _sound("animals/cicadas", "Cicadas buzz in the heat.", animals.cicadas, 5.0),
    _sound("animals/bee buzzing", "A bee buzzes around.", animals.bee_buzzing, 5.0, 22050),
    _sound("vehicles/engine idling", "A car engine idles.", machines.engine_idling, 5.0, 22050),
    _sound("vehicles/engine revving", "An engine revs up.", machines.engine_revving, 6.0, 22050),
    _sound("vehicles/motorcycle", "A motorcycle pulls away.", machines.motorcycle, 6.0, 22050),
    _sound("vehicles/car passing by", "A car passes by.", machines.car_passing, 6.0, 22050),
    _sound("vehicles/traffic", "Traffic on a busy road.", machines.traffic, 8.0, 22050),
    _sound("vehicles/helicopter", "A helicopter flies overhead.", machines.helicopter, 8.0, 22050),
    _sound(
        "vehicles/propeller plane",
        "A propeller plane flies over.",
        machines.propeller_plane,
        9.0,
        22050,
    ),
    _sound("vehicles/train horn", "A train blows its horn.", machines.train_horn, 6.5, 22050, 2),
    _sound(
        "vehicles/train on rails",
        "A train clatters over the rails.",
        machines.train_passing,
        7.0,
        22050,
    ),
    _sound("vehicles/car horn", "A car honks its horn.", machines.car_horn, 3.0),
    _sound("vehicles/bicycle bell", "A bicycle bell rings.", machines.bicycle_bell, 4.0, 48000),
    _sound(
        "machines/vacuum cleaner", "A vacuum cleaner runs.", machines.vacuum_cleaner, 6.0, 22050
    ),
    _sound("machines/electric fan", "An electric fan hums.", machines.electric_fan, 5.0, 22050),
    _sound("machines/electric drill", "An electric drill whirs.", machines.electric_drill, 5.0),
    _sound("machines/hand saw", "Someone saws wood by hand.", machines.hand_saw, 5.0),
    _sound("machines/chainsaw", "A chainsaw cuts a log.", machines.chainsaw, 7.0, 22050),
    _sound("machines/hammering", "A hammer drives in a nail.", machines.hammering, 4.0, 48000),
    _sound(
        "machines/camera shutter", "A camera takes three pictures.", machines.camera_shutter, 2.2
    ),
    _sound("machines/typing", "Someone types on a keyboard.", machines.typing, 5.0, 44100, 1, 24),
    _sound("home/knocking on a door", "Someone knocks on a door.", home.knocking, 3.5, 22050),
    _sound("home/door creaking", "An old door creaks open.", home.door_creak, 3.5),
    _sound("home/door slamming", "A heavy door slams shut.", home.door_slam, 2.5, 44100, 2),
    _sound(
        "home/glass breaking", "A pane of glass shatters.", home.glass_breaking, 2.5, 48000, 1, 24
    ),
    _sound("home/coin dropping", "A coin drops on a table.", home.coin, 2.8, 48000),
    _sound("home/pouring water", "Water is poured into a glass.", nature.pouring_water, 5.0, 22050),
    _sound(
        "home/footsteps on wood",
        "Someone walks on a wooden floor.",
        home.footsteps_wood,
        6.0,
        22050,
    ),
    _sound("home/footsteps on gravel", "Someone walks on gravel.", home.footsteps_gravel, 6.0),
    _sound("home/scissors", "Scissors snip paper.", home.scissors, 3.5),
    _sound("home/dishes", "Plates and cutlery clatter.", home.dishes, 5.0, 48000, 2),
    _sound("home/ticking clock", "A clock ticks.", home.ticking_clock, 6.0, 44100),
    _sound("people/applause", "An audience applauds.", people.applause, 6.0, 44100, 2),
    _sound("people/hand clapping", "One person claps in rhythm.", people.hand_claps, 4.0),
    _sound("people/crowd murmur", "Many people talk at once.", people.crowd_murmur, 7.0, 22050),
    _sound("people/baby crying", "A baby cries.", people.baby_crying, 6.0, 22050),
    _sound("people/laughing", "A woman laughs.", people.laughing, 4.5),
    _sound("people/coughing", "A man coughs.", people.coughing, 3.5),
    _sound("people/snoring", "Someone snores.", people.snoring, 7.0, 22050),
    _sound("people/heartbeat", "A heart beats.", people.heartbeat, 6.0, 22050),
    _sound("people/whistling a tune", "Someone whistles a tune.", people.human_whistling, 5.5),
    _sound("signals/police siren", "A police siren wails.", signals.police_siren, 8.0, 22050, 2),
    _sound(
        "signals/ambulance siren",
        "An ambulance drives past with its two-tone siren.",
        signals.ambulance_siren,
        8.0,
        22050,
    ),
    _sound("signals/smoke alarm", "A smoke alarm beeps.", signals.alarm_beeping, 6.0),
    _sound("signals/alarm clock", "A digital alarm clock beeps.", signals.alarm_clock, 4.0),
    _sound("signals/church bell", "A church bell tolls.", signals.church_bell, 11.0, 22050, 2),
    _sound("signals/hand bell", "A small bell is rung.", signals.small_bell, 3.5, 48000),
    _sound("signals/doorbell", "A doorbell chimes.", signals.doorbell, 5.0),
    _sound("signals/telephone ringing", "An old telephone rings.", signals.telephone_ringing, 6.5),
    _sound("signals/dial tone", "A telephone dial tone.", signals.dial_tone, 3.0, 22050),
    _sound("signals/busy tone", "A telephone busy tone.", signals.busy_tone, 4.0, 22050),
    _sound("signals/referee whistle", "A referee blows a whistle.", signals.referee_whistle, 3.0),
    _sound("signals/video game jump", "A video game character jumps.", signals.game_jump, 2.6),
    _sound("music/drum beat", "A drummer plays a rock beat.", music.drum_beat, 6.0, 44100, 2),
    _sound("music/acoustic guitar", "An acoustic guitar picks chords.", music.guitar, 6.0),
    _sound("music/piano", "A piano plays a slow phrase.", music.piano, 6.0, 22050),
    _sound("music/flute", "A flute plays a melody.", music.flute, 5.0, 22050),
    _sound("music/violin", "A violin plays long notes.", music.violin, 5.5, 22050, 1, 24),
    _sound("music/music box", "A music box plays a lullaby.", music.music_box, 6.0, 22050),
    _sound("mixtures/dog barking in rain", "A dog barks in the rain.", mixtures.dog_in_rain, 7.0),
    _sound(
        "mixtures/birds over a stream",
        "Birds sing above a stream.",
        mixtures.birds_over_stream,
        8.0,
        44100,
        2,
    ),
    _sound(
        "mixtures/thunder in rain",
        "Thunder rolls while rain falls.",
        mixtures.thunder_in_rain,
        9.0,
        22050,
        2,
    ),
    _sound(
        "mixtures/footsteps in wind",
        "Footsteps on gravel in the wind.",
        mixtures.footsteps_in_wind,
        8.0,
        22050,
    ),
    _sound(
        "mixtures/siren through traffic",
        "A police siren passes through traffic.",
        mixtures.siren_through_traffic,
        10.0,
        22050,
        2,
    ),
    _sound(
        "mixtures/busy cafe",
        "People talk in a cafe as dishes clatter.",
        mixtures.cafe,
        8.0,
        22050,
        2,
    ),
    _sound(
        "mixtures/gulls at the sea",
        "Gulls call over the surf.",
        mixtures.gulls_at_sea,
        9.0,
        22050,
        2,
    ),
    DemoSound(
        path="mixtures/evening garden.wav",
        description="Crickets and a breeze in an evening garden; a dog barks after 26 seconds.",
        sample_rate=22050,
        n_channels=1,
        duration_s=40.0,
        subtype="PCM_16",
        recipe=mixtures.evening_garden,
        event_s=mixtures.GARDEN_DOG_S,
    ),
)


def _generator(path: str, seed: int) -> np.random.Generator:
    """A generator of its own for every sound, so order and selection change nothing."""
    digest = hashlib.sha256(f"{seed}\n{path}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _widened(mono: NDArray[np.float64], studio: Studio) -> NDArray[np.float64]:
    """Two channels from one, (2, time): the same source with different early reflections."""
    return np.stack([studio.room(mono, 0.12, 0.35, 8000) for _ in range(2)])


def synthesise(sound: DemoSound, seed: int = 0) -> NDArray[np.float32]:
    """Make one recording: (channel, time) float32, peak at -3 dBFS, faded at both ends.

    The same sound and seed give the same samples, whatever else was synthesised before. A faint
    noise floor lies under everything, as in any real recording.
    """
    studio = Studio(_generator(sound.path, seed), sound.sample_rate, sound.duration_s)
    channels = np.atleast_2d(sound.recipe(studio))
    if channels.shape[0] < sound.n_channels:
        channels = _widened(channels[0], studio)
    channels = channels - channels.mean(axis=1, keepdims=True)
    channels = channels * (db(PEAK_DBFS) / np.max(np.abs(channels)))
    floor = np.stack([studio.air(20, 400, order=1) for _ in channels])
    channels = channels + db(NOISE_FLOOR_DBFS) * floor
    n_fade = studio.n(FADE_S)
    fade = np.sin(0.5 * np.pi * np.arange(n_fade) / n_fade) ** 2
    channels[:, :n_fade] *= fade
    channels[:, -n_fade:] *= fade[::-1]
    return np.asarray(channels * (db(PEAK_DBFS) / np.max(np.abs(channels))), dtype=np.float32)


def _wav_bytes(sound: DemoSound, seed: int) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(
        buffer, synthesise(sound, seed).T, sound.sample_rate, format="WAV", subtype=sound.subtype
    )
    return buffer.getvalue()


def _write_aside(target: Path, content: bytes) -> None:
    """Write under a hidden name in the same folder, then rename: no half file is ever seen."""
    handle, aside = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".wav.part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(aside, 0o644)
        os.replace(aside, target)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_demo_library(folder: Path, seed: int = 0) -> list[Path]:
    """Write every demo sound as a WAV file below `folder` and return the absolute paths, in order.

    Folders are made as needed. A file that already holds exactly what would be written is left
    alone. A file of the same name with other content is never touched: SoundsearchError, and
    whatever was written before it stays. Raises SoundsearchError too when the disk refuses.
    """
    folder = Path(folder).absolute()
    written = []
    for sound in DEMO_SOUNDS:
        target = folder / sound.path
        try:
            content = _wav_bytes(sound, seed)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() or target.is_symlink():
                if not target.is_file() or target.read_bytes() != content:
                    raise SoundsearchError(
                        f"{target}: exists and is not the demo sound of seed {seed}; "
                        "choose an empty folder or move that file away"
                    )
            else:
                _write_aside(target, content)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SoundsearchError(
                f"{target}: cannot write the demo sound ({reason}); "
                "choose a folder that can be written to"
            ) from error
        written.append(target)
    return written
