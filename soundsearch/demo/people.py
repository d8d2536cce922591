"""People: hands, breath, voices and hearts."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, unit_peak, unit_rms

VOWELS_HZ = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "er": (490, 1350, 1690),
}
"""First three formants of common vowels of an adult male (after Peterson and Barney, 1952)."""


def _claps(
    studio: Studio, n_kinds: int, highest_hz: float, slap_gain: float, shortest_s: float
) -> list[Signal]:
    """Kinds of single claps: the hollow resonance of two hands under a sharp slap."""
    kinds = []
    for _ in range(n_kinds):
        centre_hz = float(studio.rng.uniform(0.45 * highest_hz, highest_hz))
        hollow = studio.resonate(studio.noise(0.08), [Formant(centre_hz, 0.3 * centre_hz)])
        slap = studio.burst(0.08, 0.0013, 900, 8000)
        decay_s = float(studio.rng.uniform(shortest_s, 2 * shortest_s))
        kinds.append((unit_peak(hollow) + slap_gain * slap) * studio.strike(0.08, decay_s))
    return kinds


def applause(studio: Studio) -> Signal:
    """An audience clapping."""
    crowd = studio.shower(110, _claps(studio, 12, 2000, 0.19, 0.0063), spread=0.9)
    near = studio.shower(14, _claps(studio, 6, 2000, 0.19, 0.0063), spread=0.3)
    swell = studio.line([(0, 0.4), (0.1, 1), (0.85, 0.9), (1, 0.4)])
    return studio.room((unit_rms(crowd) + unit_rms(near)) * swell, 1.0, 0.18, 3470)


def hand_claps(studio: Studio) -> Signal:
    """One person clapping a steady rhythm."""
    total = studio.silence()
    kinds = _claps(studio, 10, 2000, 1.3, 0.0136)
    for i, at_s in enumerate(studio.steady(0.45, 0.03, 0.3)):
        studio.put(total, kinds[i % 10], at_s, float(studio.rng.uniform(0.8, 1)))
    return studio.room(total, 0.39, 0.2, 6900)


def babble(studio: Studio, base_hz: float) -> Signal:
    """Someone talking without words: syllables of changing vowels and stress, hissed stops."""
    total = studio.silence()
    now = float(studio.rng.uniform(0, 0.6))
    scale = 1.0 if base_hz < 160 else 1.15
    vowel_names = tuple(VOWELS_HZ)
    while now < studio.duration_s - 0.5:
        n_syllables = int(studio.rng.integers(4, 11))
        for i in range(n_syllables):
            length_s = float(studio.rng.uniform(0.11, 0.24))
            first, second = (VOWELS_HZ[str(v)] for v in studio.rng.choice(vowel_names, 2))
            formants = [
                Formant(
                    studio.line([(0, scale * a), (1, scale * b)], length_s), 90 + 40 * k, 0.6**k
                )
                for k, (a, b) in enumerate(zip(first, second, strict=True))
            ]
            fall = 1.15 - 0.3 * i / n_syllables + float(studio.rng.uniform(-0.08, 0.08))
            pitch = base_hz * studio.line(
                [(0, fall), (0.4, 1.06 * fall), (1, 0.94 * fall)], length_s
            )
            sound = studio.voice(pitch, formants, length_s, tilt=0.9, breath=0.06, top_hz=4500)
            stress = float(studio.rng.uniform(0.5, 1))
            studio.put(total, unit_peak(sound * studio.swell(length_s, 0.2, 0.4)), now, stress)
            now += 0.92 * length_s
            if studio.rng.uniform() < 0.35:
                hiss_s = float(studio.rng.uniform(0.04, 0.1))
                hiss = studio.air(3000, 8000, seconds=hiss_s) * studio.swell(hiss_s, 0.4, 0.4)
                studio.put(total, unit_peak(hiss), now, 0.18)
                now += hiss_s
        now += float(studio.rng.uniform(0.2, 0.6))
    return total


def crowd_murmur(studio: Studio) -> Signal:
    """A room of people talking at once."""
    total = studio.silence()
    for base_hz in (104, 128, 190, 220):
        talk = unit_rms(babble(studio, base_hz))
        total += talk * float(studio.rng.uniform(0.5, 1))
        for _ in range(2):
            total += 0.6 * np.roll(talk, int(studio.rng.integers(len(talk))))
    return studio.room(studio.low_pass(total, 3500, order=1), 0.9, 0.7)


def baby_crying(studio: Studio) -> Signal:
    """A baby crying: wails of about a second with gasps between them."""
    total = studio.silence()
    now = 0.3
    while now < studio.duration_s - 1.2:
        length_s = float(studio.rng.uniform(0.75, 1.15))
        top = float(studio.rng.uniform(440, 520))
        pitch = top * studio.line(
            [(0, 0.75), (0.15, 1), (0.6, 1.04), (0.9, 0.9), (1, 0.7)], length_s
        )
        pitch = pitch * (1 + 0.012 * studio.tone(6, length_s))
        formants = [
            Formant(studio.line([(0, 800), (0.3, 1150), (1, 900)], length_s), 280, 1.0),
            Formant(studio.line([(0, 1700), (0.3, 2100), (1, 1600)], length_s), 380, 0.6),
            Formant(3500, 500, 0.6),
            Formant(5200, 900, 0.2),
        ]
        wail = studio.voice(pitch, formants, length_s, tilt=0.4, breath=0.06, jitter=0.015)
        wail = wail * (1 + 0.2 * studio.drift(25, -1, 1, length_s))
        studio.put(total, unit_peak(wail * studio.swell(length_s, 0.12, 0.25)), now)
        now += length_s + 0.12
        gasp = studio.air(900, 5000, seconds=0.25) * studio.swell(0.25, 0.5, 0.2)
        studio.put(total, unit_peak(gasp), now, 0.10)
        now += 0.35
    return studio.room(total, 0.4, 0.2)


def laughing(studio: Studio) -> Signal:
    """A woman laughing: ha-ha-ha in falling runs."""
    total = studio.silence()
    now = 0.3
    while now < studio.duration_s - 1.2:
        n_calls = int(studio.rng.integers(5, 9))
        base = float(studio.rng.uniform(290, 380))
        for i in range(n_calls):
            length_s = 0.13
            fall = 1.1 - 0.35 * i / n_calls
            pitch = base * fall * studio.line([(0, 1.05), (1, 0.88)], length_s)
            formants = [Formant(880, 140), Formant(1450, 180, 0.6), Formant(2900, 300, 0.25)]
            call = studio.voice(pitch, formants, length_s, tilt=0.7, breath=0.12)
            breath = studio.resonate(studio.noise(0.07), formants) * studio.swell(0.07, 0.4, 0.4)
            studio.put(total, unit_peak(breath), now - 0.05, 0.2)
            studio.put(
                total,
                unit_peak(call * studio.swell(length_s, 0.15, 0.55)),
                now,
                1 - 0.6 * i / n_calls,
            )
            now += 0.2
        now += float(studio.rng.uniform(0.35, 0.6))
    return studio.room(total, 0.5, 0.2)


def snoring(studio: Studio) -> Signal:
    """A sleeper snoring: a rattling breath in, a soft one out."""
    total = studio.silence()
    for at_s in np.arange(0.3, studio.duration_s - 2.6, 3.3):
        flutter_hz = studio.line([(0, 32), (0.5, 44), (1, 36)], 1.4) * studio.drift(
            10, 0.9, 1.1, 1.4
        )
        train = studio.pulses(flutter_hz, 1.4, spread=0.3)
        throat = [
            Formant(230, 110),
            Formant(520, 180, 0.9),
            Formant(1150, 300, 0.5),
            Formant(2300, 500, 0.2),
        ]
        rattle = unit_rms(studio.resonate(train, throat))
        rasp = unit_rms(studio.resonate(studio.noise(1.4), throat))
        snore = (rattle + 0.3 * rasp) * studio.swell(1.4, 0.45, 0.15)
        studio.put(total, unit_peak(snore), float(at_s))
        breath = studio.air(400, 3500, seconds=1.0, slope_db_per_octave=-3) * studio.swell(
            1.0, 0.25, 0.6
        )
        studio.put(total, unit_peak(breath), float(at_s) + 1.65, 0.14)
    return studio.room(total, 0.3, 0.12)


def heartbeat(studio: Studio) -> Signal:
    """A heart through a stethoscope: lub-dub at about seventy beats a minute."""
    total = studio.silence()
    for at_s in studio.steady(0.85, 0.02, 0.3):
        for offset_s, low_hz, high_hz, gain in ((0.0, 28, 75, 1.0), (0.31, 40, 110, 0.7)):
            thump = studio.burst(0.22, 0.03, low_hz, high_hz, 0.018)
            knock = studio.modes(0.22, [(low_hz * 1.6, 0.035, 1.0)], attack_s=0.015)
            studio.put(total, unit_peak(knock + 0.5 * thump), at_s + offset_s, gain)
    return total


def human_whistling(studio: Studio) -> Signal:
    """A person whistling a simple tune."""
    total = studio.silence()
    tune = (0, 4, 7, 9, 7, 4, 5, 2, 0, 4, 7, 12, 9, 7)
    now, previous_hz = 0.3, 0.0
    for step in tune:
        length_s = float(studio.rng.choice([0.24, 0.24, 0.46]))
        if now + length_s > studio.duration_s - 0.3:
            break
        pitch_hz = 1046.5 * 2 ** (step / 12)
        glide = [(0, previous_hz or pitch_hz * 0.97), (0.18, pitch_hz), (1, pitch_hz)]
        vibrato = 1 + 0.008 * studio.tone(5.5, length_s)
        note = studio.harmonics(studio.line(glide, length_s) * vibrato, (1, 0.03), length_s)
        air = studio.air(0.8 * pitch_hz, 3.0 * pitch_hz, seconds=length_s)
        studio.put(total, (note + 0.06 * unit_rms(air)) * studio.swell(length_s, 0.12, 0.2), now)
        now += length_s
        previous_hz = pitch_hz
    return studio.room(total, 0.8, 0.25)


def coughing(studio: Studio) -> Signal:
    """A man coughing: an explosive start, a rough voiced tail."""
    total = studio.silence()
    tract = [Formant(650, 200), Formant(1250, 260, 0.8), Formant(2500, 500, 0.4)]
    for at_s in (0.4, 0.78, 1.9, 2.25, 2.6):
        blast = unit_peak(
            studio.resonate(studio.noise(0.3), tract) * studio.strike(0.3, 0.035, 0.004)
        )
        pitch = studio.line([(0, 190), (1, 120)], 0.2)
        tail = studio.voice(pitch, tract, 0.2, tilt=0.6, breath=0.5, jitter=0.06)
        studio.put(total, blast, at_s)
        studio.put(total, unit_peak(tail * studio.swell(0.2, 0.2, 0.6)), at_s + 0.06, 0.4)
    return studio.room(total, 0.35, 0.2)
