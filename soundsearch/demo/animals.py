"""Animals: throats are harmonics through moving formants, songs are swept whistles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, unit_peak, unit_rms


def bark(studio: Studio, size: float = 1.0) -> Signal:
    """One bark of about a tenth of a second: the pitch leaps up and falls, the jaw opens and shuts.

    size: below 1 is a smaller dog with a higher voice.
    """
    length_s = float(studio.rng.uniform(0.1, 0.125))
    top_hz = float(studio.rng.normal(484, 14)) / size
    pitch = top_hz * studio.line([(0, 0.59), (0.32, 1.0), (0.6, 0.86), (1, 0.47)], length_s)
    jaw = studio.line([(0, 0.86), (0.28, 1.0), (1, 0.82)], length_s)
    formants = [
        Formant(729 / size * jaw, 250, 1.0),
        Formant(1400 / size * jaw, 489, 0.27),
        Formant(2570 / size, 152, 0.11),
        Formant(5890 / size, 900, 0.03),
    ]
    cords = studio.voice(pitch, formants, length_s, tilt=1.4, breath=0.045, jitter=0.008)
    rough = 1.0 + 0.07 * studio.tone(pitch / 2, length_s)
    return unit_peak(cords * rough * studio.swell(length_s, 0.04, 0.34))


def dog_barking(studio: Studio) -> Signal:
    """A dog barking in ones and twos."""
    total = studio.silence()
    now = 0.35
    while now < studio.duration_s - 0.4:
        for _ in range(int(studio.rng.integers(1, 4))):
            studio.put(total, bark(studio), now, float(studio.rng.uniform(0.75, 1)))
            now += float(studio.rng.uniform(0.32, 0.42))
        now += float(studio.rng.uniform(0.35, 0.7))
    return studio.room(total, 0.5, 0.22)


def cat_meowing(studio: Studio) -> Signal:
    """A cat meowing: m-e-ow, the mouth opening and closing over a bent pitch."""
    total = studio.silence()
    for at_s, length_s, top_hz in ((0.3, 0.95, 501), (1.7, 0.85, 480), (2.95, 1.0, 515)):
        pitch = top_hz * studio.line([(0, 0.83), (0.27, 1), (0.6, 0.72), (1, 0.66)], length_s)
        opening = studio.line([(0, 0.81), (0.27, 1), (1, 0.43)], length_s)
        formants = [
            Formant(1350 * opening, 84, 1.0),
            Formant(2860 * opening, 430, 0.65),
            Formant(2640, 300, 0.04),
            Formant(4370, 900, 0.09),
        ]
        call = studio.voice(pitch, formants, length_s, tilt=0.2, breath=0.2, jitter=0.008)
        call = call * (1 + 0.75 * studio.tone(pitch / 2, length_s))
        studio.put(total, unit_peak(call * studio.swell(length_s, 0.25, 0.63)), at_s)
    return studio.room(total, 0.5, 0.2)


def rooster_crowing(studio: Studio) -> Signal:
    """Cock-a-doodle-doo: three short notes and a long one that falls at the end."""
    total = studio.silence()
    level = [(0, 0.9), (0.35, 1), (1, 1)]
    syllables = (
        (0.0, 0.22, 734, level),
        (0.27, 0.16, 867, level),
        (0.47, 0.4, 1020, level),
        (0.93, 0.87, 1020, [(0, 0.65), (0.35, 1), (0.6, 0.97), (1, 0.74)]),
    )
    for start_s in np.arange(0.3, studio.duration_s - 2.0, 2.4):
        for offset_s, length_s, top_hz, bend in syllables:
            opening = studio.line([(0, 0.45), (0.28, 1), (1, 0.86)], length_s)
            formants = [
                Formant(766 * opening, 250, 1.0),
                Formant(1970 * opening, 260, 1.2),
                Formant(3950, 820, 0.11),
                Formant(5680, 900, 0.08),
            ]
            pitch = top_hz * studio.line(bend, length_s)
            note = studio.voice(pitch, formants, length_s, tilt=0.78, breath=0.26, jitter=0.007)
            note = note * (1 + 0.19 * studio.tone(pitch / 2, length_s))
            note = note * (1 + 0.54 * studio.tone(18.8, length_s))
            note = unit_peak(note * studio.swell(length_s, 0.11, 0.39))
            studio.put(total, note, float(start_s) + offset_s)
    return studio.room(total, 0.5, 0.2)


def crow_cawing(studio: Studio) -> Signal:
    """Harsh caws of a crow."""
    total = studio.silence()
    for at_s in studio.steady(0.72, 0.1, 0.3):
        length_s = float(studio.rng.uniform(0.3, 0.4))
        pitch = studio.line([(0, 520), (0.3, 600), (1, 470)], length_s)
        formants = [Formant(1250, 300), Formant(1750, 400, 0.9), Formant(3000, 700, 0.35)]
        caw = studio.voice(pitch, formants, length_s, tilt=0.2, breath=0.5, jitter=0.06)
        rasp = 1 + 0.7 * studio.tone(studio.drift(30, 70, 110, length_s), length_s)
        studio.put(total, unit_peak(caw * rasp * studio.swell(length_s, 0.12, 0.3)), at_s)
    return studio.room(total, 1.0, 0.25)


def cow_mooing(studio: Studio) -> Signal:
    """A cow: a low long call through a narrow throat."""
    total = studio.silence()
    for at_s, length_s in ((0.3, 1.6), (2.7, 1.75)):
        pitch = 221 * studio.line([(0, 0.67), (0.16, 1), (0.6, 1.1), (1, 0.4)], length_s)
        opening = studio.line([(0, 0.56), (0.39, 1), (1, 0.58)], length_s)
        formants = [
            Formant(250 * opening, 88, 1.0),
            Formant(1130 * opening, 300, 0.33),
            Formant(1570, 720, 0.02),
            Formant(3900, 900, 0.01),
        ]
        moo = studio.voice(pitch, formants, length_s, tilt=0.9, breath=0.1, jitter=0.028)
        moo = moo * (1 + 0.05 * studio.tone(pitch / 2, length_s))
        studio.put(total, unit_peak(moo * studio.swell(length_s, 0.08, 0.79)), at_s)
    return studio.room(total, 0.5, 0.2)


def sheep_bleating(studio: Studio) -> Signal:
    """Sheep: nasal calls with a fast quaver."""
    total = studio.silence()
    for at_s, length_s, top_hz in ((0.3, 1.15, 448), (1.7, 1.1, 430), (3.1, 0.9, 470)):
        pitch = top_hz * studio.line([(0, 0.53), (0.33, 1), (0.6, 0.71), (1, 0.66)], length_s)
        pitch = pitch * (1 + 0.058 * studio.tone(9.7, length_s))
        opening = studio.line([(0, 0.49), (0.23, 1), (1, 1)], length_s)
        formants = [
            Formant(786 * opening, 88, 1.0),
            Formant(2400 * opening, 500, 0.64),
            Formant(3090, 420, 0.4),
            Formant(3800, 900, 0.03),
        ]
        call = studio.voice(pitch, formants, length_s, tilt=0.22, breath=0.55, jitter=0.057)
        call = call * (1 + 0.4 * studio.tone(11.9, length_s)) * studio.swell(length_s, 0.09, 0.79)
        studio.put(total, unit_peak(call), at_s)
    return studio.room(total, 0.5, 0.2)


def wolf_howling(studio: Studio) -> Signal:
    """A wolf: a rising howl held for seconds, another answering from afar."""
    total = studio.silence()
    for at_s, length_s, base_hz, gain in ((0.4, 3.9, 470, 1.0), (3.4, 4.0, 390, 0.45)):
        bend = [(0, 0.6), (0.12, 1.0), (0.3, 1.06), (0.75, 1.0), (0.9, 0.85), (1, 0.6)]
        pitch = base_hz * studio.line(bend, length_s) * studio.drift(1.5, 0.98, 1.02, length_s)
        formants = [Formant(500, 200), Formant(1000, 250, 0.3), Formant(1900, 500, 0.1)]
        howl = studio.voice(pitch, formants, length_s, tilt=1.0, breath=0.03, jitter=0.004)
        studio.put(total, unit_peak(howl * studio.swell(length_s, 0.15, 0.3)), at_s, gain)
    return studio.room(total, 2.2, 0.5, 2000)


def owl_hooting(studio: Studio) -> Signal:
    """A tawny owl at night: a long hoo, a pause, then a wavering hoo-hoo-hooo."""
    total = studio.silence()

    def hoo(length_s: float, tremble: float) -> Signal:
        pitch = 400 * studio.line([(0, 0.95), (0.2, 1.02), (0.8, 1), (1, 0.93)], length_s)
        note = studio.harmonics(pitch, (1, 0.10, 0.05, 0.01), length_s)
        breath = studio.air(300, 900, seconds=length_s)
        shake = 1 + tremble * studio.tone(9, length_s)
        return (note + 0.04 * breath) * shake * studio.swell(length_s, 0.25, 0.4)

    for start_s in np.arange(0.3, studio.duration_s - 3.5, 4.2):
        studio.put(total, hoo(0.8, 0.0), float(start_s))
        studio.put(total, hoo(0.16, 0.0), float(start_s) + 1.7, 0.6)
        studio.put(total, hoo(0.2, 0.0), float(start_s) + 2.0, 0.7)
        studio.put(total, hoo(1.2, 0.35), float(start_s) + 2.3)
    return studio.room(total, 1.8, 0.35, 2500)


def cuckoo(studio: Studio) -> Signal:
    """A cuckoo in the woods: two notes, a third apart, over and over."""
    total = studio.silence()
    for at_s in studio.steady(1.25, 0.03, 0.3):
        for offset_s, pitch_hz, length_s in ((0.0, 680, 0.2), (0.33, 550, 0.3)):
            bend = pitch_hz * studio.line([(0, 0.97), (0.3, 1), (1, 0.97)], length_s)
            note = studio.harmonics(bend, (1, 0.06, 0.02), length_s)
            studio.put(total, note * studio.swell(length_s, 0.2, 0.35), at_s + offset_s)
    return studio.room(total, 1.5, 0.3, 3000)


def whistled(
    studio: Studio, bend: Sequence[tuple[float, float]], length_s: float, trill_hz: float = 0.0
) -> Signal:
    """One note of a songbird: a nearly pure tone along a bend in Hz, perhaps trilled."""
    pitch = studio.line(bend, length_s)
    if trill_hz:
        pitch = pitch * (1 + 0.07 * studio.tone(trill_hz, length_s))
    return studio.harmonics(pitch, (1, 0.05), length_s) * studio.swell(length_s, 0.15, 0.35)


def songbird(studio: Studio) -> Signal:
    """A small songbird: quick high phrases with trills."""
    total = studio.silence()
    now = 0.3
    while now < studio.duration_s - 0.9:
        base = float(studio.rng.uniform(3600, 4800))
        motif = int(studio.rng.integers(3))
        for _ in range(int(studio.rng.integers(3, 8))):
            if motif == 0:
                note = whistled(studio, [(0, 1.25 * base), (0.5, base), (1, 1.1 * base)], 0.07)
            elif motif == 1:
                note = whistled(studio, [(0, 0.85 * base), (1, 1.3 * base)], 0.05)
            else:
                note = whistled(studio, [(0, base), (1, 0.9 * base)], 0.16, trill_hz=45)
            studio.put(total, note, now, float(studio.rng.uniform(0.6, 1)))
            now += len(note) / studio.sample_rate + float(studio.rng.uniform(0.02, 0.06))
        now += float(studio.rng.uniform(0.3, 0.7))
    return studio.room(total, 1.2, 0.25)


def blackbird(studio: Studio) -> Signal:
    """A blackbird at dusk: mellow fluted phrases that end in a high twitter."""
    total = studio.silence()
    now = 0.3
    while now < studio.duration_s - 1.6:
        for _ in range(int(studio.rng.integers(3, 6))):
            base = float(studio.rng.choice([1700, 1900, 2150, 2400, 2700]))
            length_s = float(studio.rng.uniform(0.12, 0.3))
            slope = float(studio.rng.uniform(0.85, 1.2))
            note = whistled(studio, [(0, base), (0.5, base * slope), (1, base)], length_s)
            studio.put(total, note, now)
            now += length_s + 0.03
        for _ in range(int(studio.rng.integers(4, 8))):
            top = float(studio.rng.uniform(4500, 6500))
            note = whistled(studio, [(0, top), (1, 0.8 * top)], 0.05)
            studio.put(total, note, now, 0.3)
            now += 0.065
        now += float(studio.rng.uniform(0.8, 1.3))
    return studio.room(total, 1.3, 0.25)


def sparrows(studio: Studio) -> Signal:
    """A flock of sparrows chirping in a hedge."""
    total = studio.silence()
    for _ in range(7):
        base = float(studio.rng.uniform(3000, 4600))
        near = float(studio.rng.uniform(0.25, 1))
        for at_s in studio.steady(float(studio.rng.uniform(0.5, 0.9)), 0.5, 0.1):
            bend = [(0, 0.9 * base), (0.3, 1.35 * base), (0.6, 1.1 * base), (1, 0.8 * base)]
            note = whistled(studio, bend, float(studio.rng.uniform(0.06, 0.12)))
            studio.put(total, note, at_s, near * float(studio.rng.uniform(0.5, 1)))
    return studio.room(total, 0.8, 0.25)


def seagulls(studio: Studio) -> Signal:
    """Gulls calling: long keening cries that fall, then a laughing series."""
    total = studio.silence()
    now = 0.3
    while now < studio.duration_s - 1.0:
        base = float(studio.rng.uniform(900, 1250))
        for length_s in (0.6, *[0.22] * int(studio.rng.integers(2, 6))):
            bend = [(0, 0.8 * base), (0.2, 1.15 * base), (0.6, base), (1, 0.7 * base)]
            formants = [Formant(1300, 500), Formant(2600, 700, 0.8), Formant(4000, 900, 0.3)]
            cry = studio.voice(
                studio.line(bend, length_s), formants, length_s, tilt=0.3, breath=0.08, jitter=0.02
            )
            studio.put(
                total, unit_peak(cry * studio.swell(length_s, 0.15, 0.35)), now, 0.5 + base / 2500
            )
            now += length_s + 0.08
        now += float(studio.rng.uniform(0.2, 0.6))
    return studio.room(total, 1.2, 0.25)


def frog_croaking(studio: Studio) -> Signal:
    """A frog: each croak is a quick train of pulses through a puffed throat."""
    total = studio.silence()
    for at_s in studio.steady(0.95, 0.15, 0.3):
        for offset_s, length_s, low_hz in ((0.0, 0.2, 620), (0.26, 0.26, 800)):
            train = studio.pulses(studio.line([(0, 42), (1, 58)], length_s), length_s)
            throat = [Formant(low_hz, 90), Formant(1.9 * low_hz, 140, 0.8), Formant(2700, 350, 0.3)]
            croak = studio.resonate(train, throat) * studio.swell(length_s, 0.3, 0.3)
            studio.put(total, unit_peak(croak), at_s + offset_s, 0.8)
    return studio.room(total, 0.6, 0.15)


def crickets(studio: Studio) -> Signal:
    """Field crickets at night: several insects, each chirping in triplets near 4.5 kHz."""
    total = studio.silence()
    for near in (1.0, 0.55, 0.4, 0.25):
        carrier_hz = float(studio.rng.uniform(4200, 4900))
        pulse = studio.harmonics(carrier_hz, (1, 0.08), 0.018) * studio.swell(0.018, 0.5, 0.5)
        chirp = studio.silence(0.1)
        for i in range(3):
            studio.put(chirp, pulse, i * 0.03, 0.7 + 0.15 * i)
        period_s = float(studio.rng.uniform(0.26, 0.42))
        for at_s in studio.steady(period_s, 0.04, float(studio.rng.uniform(0, 0.4))):
            studio.put(total, chirp, at_s, near)
    return total


def cicadas(studio: Studio) -> Signal:
    """Cicadas on a hot day: a shrill band of noise buzzing at over a hundred pulses a second."""
    total = studio.silence()
    for centre_hz in (4600, 5400, 6500):
        buzz = studio.moving_band(centre_hz, 900)
        pulse_hz = float(studio.rng.uniform(110, 190))
        total += buzz * (0.5 + 0.5 * studio.tone(pulse_hz)) ** 2 * studio.drift(0.7, 0.4, 1)
    return total


def bee_buzzing(studio: Studio) -> Signal:
    """A bee flying round the microphone, near and far: wing beats with a nervous pitch."""
    pitch = studio.drift(12, 254, 288) * studio.drift(25, 0.983, 1.017)
    wings = studio.harmonics(pitch, [1 / k**0.23 for k in range(1, 40)])
    body = [Formant(134, 53, 1.0), Formant(613, 146, 0.13), Formant(3070, 900, 0.57)]
    buzz = unit_rms(studio.resonate(wings, body)) * (1 + 0.065 * studio.drift(60, -1, 1))
    meadow = studio.air(200, 5000, slope_db_per_octave=-3)
    return buzz * studio.drift(0.9, 0.28, 1.0) + 0.25 * meadow


def woodpecker(studio: Studio) -> Signal:
    """A woodpecker drumming on a hollow trunk in short fast rolls."""
    total = studio.silence()
    trunk = [(720, 0.012, 1.0), (1250, 0.008, 0.8), (2100, 0.005, 0.5), (340, 0.015, 0.5)]
    for start_s in studio.steady(2.1, 0.15, 0.4):
        n_taps = int(studio.rng.integers(12, 18))
        for i in range(n_taps):
            tap = studio.modes(0.09, trunk) + 0.6 * studio.burst(0.09, 0.002, 1000, 7000)
            studio.put(total, tap, start_s + i * 0.05 * (1 - 0.008 * i), 1 - 0.5 * i / n_taps)
    return studio.room(total, 1.3, 0.3)
