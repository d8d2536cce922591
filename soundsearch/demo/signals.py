"""Signals: sirens, alarms, bells, telephones and whistles."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, unit_peak, unit_rms


def police_siren(studio: Studio) -> Signal:
    """A police wail: the pitch climbs and falls every few seconds."""
    cycle = (studio.times() / 3.4) % 1.0
    climb = np.where(cycle < 0.45, cycle / 0.45, 1 - (cycle - 0.45) / 0.55)
    pitch = 620 * (1480 / 620) ** climb
    horn = studio.harmonics(pitch, (1, 0.55, 0.5, 0.25, 0.2, 0.12, 0.1, 0.06))
    horn = studio.resonate(horn, [Formant(1100, 900), Formant(2300, 1200, 0.7)])
    return studio.room(unit_rms(horn) * studio.drift(0.4, 0.6, 1.0), 1.2, 0.35)


def ambulance_siren(studio: Studio) -> Signal:
    """A two-tone ambulance horn driving past, a little flat once it has gone by."""
    age = studio.times() - 0.55 * studio.duration_s
    high = (studio.times() / 0.55).astype(np.int64) % 2 == 0
    pitch = np.where(high, 587.0, 440.0) * (1 - 0.035 * np.tanh(age / 0.8))
    horn = studio.harmonics(pitch, [0.82 ** (k - 1) for k in range(1, 20)])
    horn = unit_rms(studio.resonate(horn, [Formant(700, 700), Formant(1900, 1200, 0.8)]))
    return studio.room(horn / np.sqrt(1 + (age / 1.8) ** 2), 1.2, 0.3)


def alarm_beeping(studio: Studio) -> Signal:
    """A smoke alarm: three loud beeps, a pause, three beeps."""
    total = studio.silence()
    beep = studio.harmonics(3150.0, (1, 0.1, 0.25), 0.42)
    beep = beep * np.minimum(1, np.minimum(studio.times(0.42), 0.42 - studio.times(0.42)) / 0.004)
    for group_s in np.arange(0.3, studio.duration_s, 3.1):
        for i in range(3):
            studio.put(total, beep, float(group_s) + 0.75 * i)
    return studio.room(total, 0.4, 0.2)


def alarm_clock(studio: Studio) -> Signal:
    """A digital alarm clock: groups of four quick beeps."""
    total = studio.silence()
    beep = studio.harmonics(2048.0, (1, 0, 0.33, 0, 0.2), 0.07)
    beep = beep * np.minimum(1, np.minimum(studio.times(0.07), 0.07 - studio.times(0.07)) / 0.002)
    for group_s in np.arange(0.25, studio.duration_s - 0.4, 1.0):
        for i in range(4):
            studio.put(total, beep, float(group_s) + 0.125 * i)
    return studio.room(total, 0.2, 0.1)


def church_bell(studio: Studio) -> Signal:
    """A bell tolling: hum, prime, minor third, fifth and nominal, the higher the sooner gone."""
    prime_hz = 540.0
    ratios = (0.5, 1, 1.19, 1.5, 2, 2.006, 2.51, 3.01, 4.17, 5.43, 6.8, 8.2)
    gains = (0.6, 0.8, 0.9, 0.5, 1, 0.4, 0.5, 0.6, 0.5, 0.4, 0.3, 0.25)
    partials = [
        (ratio * prime_hz, 1.9 / ratio**1.13, gain * 0.82**i)
        for i, (ratio, gain) in enumerate(zip(ratios, gains, strict=True))
    ]
    total = studio.silence()
    for at_s in studio.steady(2.3, 0.02, 0.3):
        studio.put(total, studio.modes(6.0, partials, attack_s=0.0008), at_s)
        studio.put(total, studio.burst(0.1, 0.01, 500, 6000), at_s, 0.13)
    return studio.room(total, 1.34, 0.23, 3460)


def small_bell(studio: Studio) -> Signal:
    """A hand bell shaken to call people to table."""
    bell = [
        (1860, 0.5, 1.0),
        (3950, 0.3, 0.6),
        (1868, 0.45, 0.5),
        (6700, 0.15, 0.4),
        (9800, 0.08, 0.2),
    ]
    total = studio.silence()
    for at_s in studio.steady(0.21, 0.12, 0.3):
        if at_s < studio.duration_s - 1.0:
            studio.put(total, studio.modes(2.0, bell), at_s, float(studio.rng.uniform(0.6, 1)))
    return studio.room(total, 0.5, 0.15)


def telephone_ringing(studio: Studio) -> Signal:
    """An old telephone: a clapper between two bells, two seconds of ring, then a pause."""
    total = studio.silence()
    low = studio.modes(0.9, [(1290, 0.22, 1.0), (2640, 0.15, 0.7), (4380, 0.1, 0.4)])
    high = studio.modes(0.9, [(1540, 0.22, 1.0), (3150, 0.15, 0.7), (5200, 0.1, 0.4)])
    knock = studio.burst(0.9, 0.002, 1500, 8000)
    for ring_s in np.arange(0.3, studio.duration_s - 1.0, 3.4):
        for i in range(44):
            studio.put(total, (low if i % 2 else high) + 0.25 * knock, float(ring_s) + i / 22.0)
    return studio.room(total, 0.4, 0.2)


def _line_tone(studio: Studio, low_hz: float, high_hz: float) -> Signal:
    """Two sines as a telephone exchange sends them, with a little line noise."""
    hiss = studio.air(300, 3400)
    return studio.tone(low_hz) + studio.tone(high_hz) + 0.01 * hiss


def dial_tone(studio: Studio) -> Signal:
    """A telephone dial tone: 350 and 440 Hz, steady."""
    return _line_tone(studio, 350.0, 440.0)


def busy_tone(studio: Studio) -> Signal:
    """A telephone busy tone: 480 and 620 Hz, half a second on, half a second off."""
    on = studio.low_pass(((studio.times() % 1.0) < 0.5).astype(np.float64), 120.0)
    return _line_tone(studio, 480.0, 620.0) * on


def referee_whistle(studio: Studio) -> Signal:
    """A pea whistle: two short blasts and a long one, the pea trilling the tone."""
    total = studio.silence()
    for at_s, length_s in ((0.3, 0.3), (0.75, 0.25), (1.2, 1.1)):
        pea = studio.tone(studio.drift(8, 34, 42, length_s), length_s)
        pitch = 2850 * (1 + 0.022 * pea)
        reed = studio.harmonics(pitch, (1, 0.25, 0.12), length_s)
        reed += 0.7 * studio.harmonics(pitch * 1.085, (1, 0.2), length_s)
        air = studio.air(2000, 8000, seconds=length_s)
        blast = (reed * (0.7 + 0.3 * pea) + 0.18 * air) * studio.swell(length_s, 0.04, 0.06)
        studio.put(total, unit_peak(blast), at_s)
    return studio.room(total, 0.8, 0.25)


def doorbell(studio: Studio) -> Signal:
    """A doorbell chime: ding-dong."""
    total = studio.silence()
    for at_s, pitch_hz in ((0.3, 659.3), (0.95, 523.3), (2.6, 659.3), (3.25, 523.3)):
        bar = [(pitch_hz, 0.7, 1.0), (2.76 * pitch_hz, 0.25, 0.35), (5.4 * pitch_hz, 0.08, 0.2)]
        studio.put(total, studio.modes(2.2, bar), at_s)
    return studio.room(total, 0.5, 0.2)


def game_jump(studio: Studio) -> Signal:
    """An old video game: a square wave hops up, three times, then a coin chime."""
    total = studio.silence()
    square = [1 / k if k % 2 else 0.0 for k in range(1, 30)]
    for at_s in (0.2, 0.75, 1.3):
        hop = studio.line([(0, 220), (0.2, 280), (1, 880)], 0.24)
        studio.put(total, studio.harmonics(hop, square, 0.24) * studio.strike(0.24, 0.16), at_s)
    studio.put(total, studio.harmonics(987.8, square, 0.08), 1.85, 0.7)
    studio.put(total, studio.harmonics(1318.5, square, 0.5) * studio.strike(0.5, 0.16), 1.93, 0.7)
    return total
