"""A few instruments."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, unit_peak, unit_rms


def kick(studio: Studio) -> Signal:
    """A bass drum: a sine that drops in pitch, and the click of the beater."""
    t = studio.times(0.35)
    angle = 2 * np.pi * (50 * t + 3.2 * (1 - np.exp(-t / 0.03)))
    return np.sin(angle) * studio.strike(0.35, 0.11) + 0.2 * studio.burst(0.35, 0.003, 1500, 6000)


def snare(studio: Studio) -> Signal:
    """A snare drum: the head's two tones under rattling wires."""
    head = studio.modes(0.25, [(186, 0.05, 0.8), (332, 0.035, 0.6)])
    return head + 0.9 * studio.burst(0.25, 0.055, 1200, 9500)


def hi_hat(studio: Studio, decay_s: float) -> Signal:
    """A hi-hat: dense inharmonic metal, high-passed."""
    t = studio.times(0.3)
    metal = np.zeros(len(t))
    for pitch_hz in (2050, 3070, 3690, 4110, 5230, 6120):
        metal += np.sign(np.sin(2 * np.pi * pitch_hz * t))
    metal = metal / 6 + studio.noise(0.3)
    return unit_peak(studio.high_pass(metal, 6500, order=3) * studio.strike(0.3, decay_s))


def drum_beat(studio: Studio) -> Signal:
    """A rock beat at 108 beats a minute."""
    total = studio.silence()
    eighth_s = 60 / 108 / 2
    for i in range(int((studio.duration_s - 0.4) / eighth_s)):
        at_s = 0.15 + i * eighth_s + float(studio.rng.normal(0, 0.003))
        if i % 8 in (0, 4) or i % 16 == 11:
            studio.put(total, kick(studio), at_s)
        if i % 4 == 2:
            studio.put(total, snare(studio), at_s, 0.8)
        studio.put(
            total, hi_hat(studio, 0.1 if i % 8 == 7 else 0.028), at_s, 0.22 + 0.1 * (i % 2 == 0)
        )
    return studio.room(total, 0.5, 0.15)


def guitar(studio: Studio) -> Signal:
    """An acoustic guitar picking chords."""
    total = studio.silence()
    chords = ((40, 47, 52, 55, 59, 64), (45, 52, 57, 60, 64, 60), (43, 50, 55, 59, 62, 67))
    now, i = 0.2, 0
    while now < studio.duration_s - 0.7:
        chord = chords[(i // 6) % len(chords)]
        pitch_hz = 440 * 2 ** ((chord[i % 6] - 69) / 12)
        string = studio.pluck(pitch_hz, 2.4, damping=0.9965)
        studio.put(total, unit_peak(string), now, float(studio.rng.uniform(0.7, 1)))
        now += 0.26 + float(studio.rng.normal(0, 0.006))
        i += 1
    body = studio.resonate(
        total, [Formant(105, 40, 0.8), Formant(215, 60, 0.6), Formant(430, 120, 0.4)]
    )
    return studio.room(studio.high_pass(total + body, 70.0), 0.6, 0.15)


def piano(studio: Studio) -> Signal:
    """A piano playing slow notes and a closing chord: stiff strings, two decays each."""
    total = studio.silence()

    def note(midi: int) -> Signal:
        pitch_hz = 440 * 2 ** ((midi - 69) / 12)
        partials = []
        for k in range(1, 18):
            stretched = k * pitch_hz * np.sqrt(1 + 0.0004 * k * k)
            gain = abs(np.sin(np.pi * k / 8.2)) / k**0.9
            decay_s = 1.5 / (1 + 0.22 * k)
            partials.append((stretched, 0.35 * decay_s, gain))
            partials.append((stretched * 1.0004, 1.4 * decay_s, 0.35 * gain))
        hammer = studio.burst(3.0, 0.012, 150, 2500)
        return studio.modes(3.0, partials, attack_s=0.002) + 0.12 * hammer

    for i, midi in enumerate((60, 64, 67, 72, 69, 65, 67)):
        studio.put(total, note(midi), 0.2 + 0.42 * i)
    for midi in (48, 60, 64, 67, 72):
        studio.put(total, note(midi), 3.35, 0.6)
    return studio.room(total, 1.2, 0.2)


def flute(studio: Studio) -> Signal:
    """A flute playing a phrase: few harmonics, breath and vibrato."""
    total = studio.silence()
    now = 0.2
    for midi, length_s in (
        (74, 0.6),
        (77, 0.3),
        (81, 0.7),
        (79, 0.3),
        (77, 0.3),
        (76, 0.4),
        (74, 1.2),
    ):
        pitch_hz = 440 * 2 ** ((midi - 69) / 12)
        vibrato = studio.tone(5.2, length_s) * studio.line([(0, 0), (0.4, 1), (1, 1)], length_s)
        tone = studio.harmonics(
            pitch_hz * (1 + 0.006 * vibrato), (1, 0.45, 0.22, 0.1, 0.05), length_s
        )
        air = studio.resonate(
            studio.noise(length_s), [Formant(pitch_hz, 300), Formant(2 * pitch_hz, 500)]
        )
        note = (tone * (1 + 0.15 * vibrato) + 0.10 * unit_rms(air)) * studio.swell(
            length_s, 0.1, 0.12
        )
        studio.put(total, note, now)
        now += length_s
    return studio.room(total, 1.4, 0.3)


def violin(studio: Studio) -> Signal:
    """A violin playing long notes: a bowed sawtooth through the body's resonances."""
    total = studio.silence()
    now = 0.2
    body = [
        Formant(290, 60, 0.7),
        Formant(470, 80, 0.9),
        Formant(700, 150, 0.6),
        Formant(1200, 400, 0.6),
        Formant(2600, 900, 0.7),
        Formant(4200, 1500, 0.25),
    ]
    for midi, length_s in ((69, 0.9), (71, 0.5), (72, 0.5), (76, 1.4), (74, 1.3)):
        pitch_hz = 440 * 2 ** ((midi - 69) / 12)
        vibrato = studio.tone(5.8, length_s) * studio.line([(0, 0), (0.3, 1), (1, 1)], length_s)
        bowed = studio.voice(
            pitch_hz * (1 + 0.007 * vibrato), body, length_s, tilt=0.85, breath=0.03, jitter=0.002
        )
        studio.put(total, bowed * studio.swell(length_s, 0.12, 0.12), now)
        now += length_s - 0.03
    return studio.room(total, 1.5, 0.3)


def music_box(studio: Studio) -> Signal:
    """A music box plinking a lullaby."""
    total = studio.silence()
    tune = (76, 79, 84, 83, 79, 76, 77, 81, 84, 81, 79, 76, 72)
    for i, midi in enumerate(tune):
        pitch_hz = 440 * 2 ** ((midi + 12 - 69) / 12)
        tine = [(pitch_hz, 0.55, 1.0), (6.27 * pitch_hz, 0.06, 0.25), (2 * pitch_hz, 0.2, 0.08)]
        studio.put(
            total, studio.modes(2.0, tine), 0.2 + 0.36 * i + float(studio.rng.normal(0, 0.008))
        )
    return studio.room(total, 0.4, 0.2)
