"""Vehicles, engines, motors and tools."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Curve, Formant, Signal, Studio, unit_peak, unit_rms


def _engine(studio: Studio, firing_hz: Curve, rattle: float, spread: float = 0.25) -> Signal:
    """A piston engine: uneven pulses through the exhaust, plus rattle in step with them."""
    train = studio.pulses(firing_hz, spread=spread)
    exhaust = [
        Formant(75, 40, 1.6),
        Formant(150, 60, 1.0),
        Formant(290, 90, 0.7),
        Formant(620, 160, 0.45),
        Formant(1300, 350, 0.25),
        Formant(2600, 700, 0.12),
    ]
    pipes = unit_rms(studio.resonate(train, exhaust))
    puff = studio.low_pass(np.abs(pipes), 60.0)
    hiss = studio.air(500, 5000, slope_db_per_octave=-2)
    return pipes + rattle * hiss * (0.3 + unit_peak(puff))


def engine_idling(studio: Studio) -> Signal:
    """A car engine idling: slow uneven firing, and a bright rattle in step with it."""
    firing = studio.pulses(studio.drift(1.5, 14.6, 15.6), spread=0.14)
    block = [Formant(220, 35), Formant(236, 63, 1.06), Formant(2810, 360, 0.09)]
    pipes = unit_rms(studio.resonate(firing, block))
    rattle = studio.air(747, 6940)
    return pipes + 0.4 * rattle * (0.4 + unit_peak(studio.low_pass(np.abs(pipes), 60.0)))


def engine_revving(studio: Studio) -> Signal:
    """An engine revved up three times."""
    revs = [(0, 28), (0.05, 28), (0.14, 105), (0.3, 34), (0.36, 32), (0.46, 125), (0.62, 36)]
    revs += [(0.67, 34), (0.8, 150), (1, 40)]
    firing = studio.line(revs)
    engine = _engine(studio, firing, 0.5, spread=0.15)
    whine = studio.harmonics(firing * 2, [1 / k**0.6 for k in range(1, 20)])
    throttle = firing / 150
    return engine * (0.35 + throttle) + 0.5 * unit_rms(whine) * throttle


def motorcycle(studio: Studio) -> Signal:
    """A motorcycle pulling away through the gears."""
    shift = [(0, 40), (0.1, 42), (0.33, 110), (0.36, 70), (0.6, 125), (0.63, 85), (1, 130)]
    firing = studio.line(shift)
    raw = studio.harmonics(firing, [1 / k**0.5 for k in range(1, 40)])
    engine = _engine(studio, firing, 0.4, spread=0.2)
    fade = studio.line([(0, 0.6), (0.25, 1.0), (0.5, 0.7), (1, 0.12)])
    return np.asarray(np.tanh(0.8 * engine + 0.8 * unit_rms(raw)) * fade)


def car_passing(studio: Studio) -> Signal:
    """A car driving past on a wet road: tyre noise and engine swell, pitch drops as it goes."""
    middle_s = studio.duration_s / 2
    age = studio.times() - middle_s
    distance = np.sqrt(1 + (age / 0.55) ** 2)
    doppler = 1 - 0.05 * np.tanh(age / 0.5)
    tyres = studio.air(500, 2600, slope_db_per_octave=-1)
    spray = studio.air(2500, 16000)
    hum = studio.harmonics(62 * doppler, [1, 0.7, 0.5, 0.3, 0.2, 0.1])
    low = studio.air(50, 400, slope_db_per_octave=-4)
    return (tyres + 0.3 * hum + 0.6 * low) / distance + 0.5 * spray / distance**1.8


def traffic(studio: Studio) -> Signal:
    """A busy road: a steady drone, and cars with their engines and tyres that come and go."""
    drone = studio.air(45, 1230, slope_db_per_octave=-2.8)
    tyres = studio.air(334, 1480, slope_db_per_octave=-2)
    hum = studio.harmonics(studio.drift(1, 112, 124), [1 / k**1.39 for k in range(1, 20)])
    total = drone * studio.drift(0.6, 0.6, 1.0)
    t = studio.times()
    for at_s in studio.poisson(0.55):
        swell = 1 / (1 + ((t - at_s) / float(studio.rng.uniform(0.5, 1.2))) ** 2)
        total = total + swell * (0.5 * tyres + 1.4 * unit_rms(hum))
    return total


def helicopter(studio: Studio) -> Signal:
    """A helicopter overhead: blade slap some eleven times a second and a turbine's whine."""
    slap = studio.pulses(studio.drift(0.5, 10.8, 11.4), spread=0.12)
    body = [
        Formant(48, 30, 1.4),
        Formant(95, 45, 1.0),
        Formant(210, 110, 0.7),
        Formant(520, 260, 0.4),
    ]
    blades = unit_rms(studio.resonate(slap, body))
    wash = studio.air(120, 2500, slope_db_per_octave=-3)
    chop = studio.resonate(slap, [Formant(0, 9)])
    chop = np.clip(unit_peak(chop), 0, 1)
    turbine = studio.harmonics(studio.drift(0.4, 1180, 1200), (0.4, 0.2, 0.15))
    approach = studio.line([(0, 0.45), (0.5, 1.0), (1, 0.55)])
    return (blades + 1.1 * wash * (0.2 + chop) + 0.05 * turbine) * approach


def propeller_plane(studio: Studio) -> Signal:
    """A propeller plane flying over: a buzzing drone that falls in pitch as it passes."""
    age = (studio.times() - studio.duration_s / 2) / (studio.duration_s / 2)
    firing = 89.4 * (1 - 0.09 * np.tanh(2.2 * age)) * studio.drift(8, 0.9946, 1.0054)
    pipes = [Formant(163, 60, 1.0), Formant(729, 291, 0.33), Formant(2290, 1090, 0.11)]
    drone = unit_rms(studio.resonate(studio.pulses(firing, spread=0.27), pipes))
    air = studio.air(80, 2990, slope_db_per_octave=-0.8)
    return (drone * (1 + 0.31 * studio.drift(20, -1, 1)) + 0.43 * air) * (
        0.15 + 1 / (1 + (2.3 * age) ** 2)
    )


def _horn(studio: Studio, pitches_hz: tuple[float, ...], length_s: float, edge: float) -> Signal:
    """Blown horns sounding together; edge is how bright they are."""
    swell = studio.line([(0, 0.94), (0.05, 1.0), (0.92, 1.0), (1, 0.95)], length_s)
    chord = studio.silence(length_s)
    for pitch_hz in pitches_hz:
        chord += studio.harmonics(
            pitch_hz * swell, [edge ** (k - 1) for k in range(1, 30)], length_s
        )
    air = studio.air(600, 5000, seconds=length_s)
    attack = np.minimum(1, studio.times(length_s) / 0.04)
    release = np.minimum(1, (length_s - studio.times(length_s)) / 0.08)
    return np.asarray((unit_rms(chord) + 0.06 * air) * attack * release)


def train_horn(studio: Studio) -> Signal:
    """A train's horn: long blasts of a five-note chord echoing over the land."""
    total = studio.silence()
    for at_s, length_s in ((0.4, 1.6), (2.3, 0.6), (3.2, 2.0)):
        studio.put(total, _horn(studio, (311, 370, 415, 494, 622), length_s, 0.82), at_s)
    return studio.room(total, 2.4, 0.5, 2500)


def train_passing(studio: Studio) -> Signal:
    """A train over rail joints: clack-clack of the axles over the rumble of steel wheels."""
    clacks = studio.silence()
    rail = [(190, 0.03, 1.0), (430, 0.02, 0.7), (1150, 0.012, 0.5)]
    for at_s in studio.steady(0.78, 0.02, 0.2):
        for offset_s in (0.0, 0.13):
            clack = studio.modes(0.2, rail) + 0.27 * studio.burst(0.2, 0.0077, 212, 4230)
            studio.put(clacks, clack, at_s + offset_s, float(studio.rng.uniform(0.7, 1)))
    pulse = unit_peak(studio.low_pass(np.abs(clacks), 6.0))
    rumble = studio.air(40, 996, slope_db_per_octave=-4)
    roll = studio.air(713, 5380, slope_db_per_octave=-2)
    wheels = (0.5 * rumble + 0.22 * roll) * (0.15 + pulse)
    return 1.85 * studio.room(unit_peak(clacks), 0.5, 0.3) + wheels


def car_horn(studio: Studio) -> Signal:
    """A car horn: two short honks and a long one, two notes at once."""
    total = studio.silence()
    for at_s, length_s in ((0.3, 0.25), (0.75, 0.25), (1.4, 1.1)):
        blast = _horn(studio, (405, 507), length_s, 0.9)
        blast = blast + 0.8 * unit_rms(studio.resonate(blast, [Formant(2300, 900)]))
        studio.put(total, blast, at_s)
    return studio.room(total, 0.6, 0.2)


def bicycle_bell(studio: Studio) -> Signal:
    """A bicycle bell: trring-trring, a clapper striking a small steel dome."""
    total = studio.silence()
    dome = [(2350, 0.35, 1.0), (2362, 0.3, 0.6), (5100, 0.2, 0.6), (8200, 0.12, 0.3)]
    for start_s in studio.steady(1.25, 0.1, 0.3):
        for offset_s in (0.0, 0.28):
            for i in range(5):
                at_s = start_s + offset_s + 0.035 * i
                studio.put(total, studio.modes(1.2, dome), at_s, 0.55 + 0.1 * i)
    return total


def vacuum_cleaner(studio: Studio) -> Signal:
    """A vacuum cleaner: rushing air, the whine of its motor, and what the tube makes of both."""
    start = studio.line([(0, 0.3), (0.12, 1.0), (1, 1.0)])
    pitch = 257 * start * studio.drift(1, 0.99, 1.01)
    motor = studio.harmonics(pitch, [2.68 ** (k % 2) / k**0.83 for k in range(1, 40)])
    flow = studio.air(655, 2620, slope_db_per_octave=-2.5, order=1)
    tube = studio.resonate(studio.noise(), [Formant(881, 90), Formant(2530, 160, 0.72)])
    return (0.78 * flow + 0.27 * unit_rms(motor) + 0.82 * unit_rms(tube)) * start


def electric_fan(studio: Studio) -> Signal:
    """A desk fan humming."""
    flow = studio.air(324, 2440, slope_db_per_octave=-0.4, order=1)
    hum = studio.harmonics(169.0, (0.7, 1.0, 0.2, 0.4, 0.1, 0.2))
    blades = 1 + 0.05 * studio.tone(32.4)
    return flow * blades + 1.3 * unit_rms(hum)


def electric_drill(studio: Studio) -> Signal:
    """An electric drill started twice, its whine bending under load."""
    speed = [(0, 0), (0.05, 0), (0.1, 1.0), (0.25, 0.8), (0.42, 0.78), (0.45, 0.95), (0.5, 0)]
    speed += [(0.55, 0), (0.6, 1.0), (0.72, 0.75), (0.9, 0.72), (0.95, 0)]
    turning = studio.line(speed)
    pitch = np.maximum(20.0, 410 * turning * studio.drift(12, 0.97, 1.03))
    motor = studio.harmonics(pitch, [1 / k**0.3 for k in range(1, 22)])
    gears = studio.harmonics(pitch * 5.3, (1, 0.6, 0.4))
    grind = studio.air(1200, 8000) * (0.5 + 0.5 * studio.drift(45, 0, 1))
    return (unit_rms(motor) + 0.5 * gears + 0.7 * grind) * turning**1.5


def hand_saw(studio: Studio) -> Signal:
    """Sawing wood by hand: push and pull strokes, teeth rasping."""
    total = studio.silence()
    board = [Formant(600, 250, 0.5), Formant(1500, 500, 0.8), Formant(3200, 1200, 1.0)]
    for i, at_s in enumerate(studio.steady(0.42, 0.06, 0.25)):
        push = i % 2 == 0
        length_s = 0.36 if push else 0.3
        speed = studio.swell(length_s, 0.45, 0.4)
        teeth = (0.5 + 0.5 * studio.tone(40 + 170 * speed, length_s)) ** 2
        rasp = studio.resonate(studio.noise(length_s), board)
        stroke = unit_peak(rasp * (0.25 + teeth) * speed)
        studio.put(total, stroke, at_s, 1.0 if push else 0.6)
    return studio.room(total, 0.3, 0.2)


def chainsaw(studio: Studio) -> Signal:
    """A chainsaw: idling, then roaring through a log."""
    revs = studio.line(
        [(0, 45), (0.15, 45), (0.22, 135), (0.5, 118), (0.72, 122), (0.8, 140), (1, 60)]
    )
    firing = revs * studio.drift(14, 0.95, 1.05)
    buzz = studio.harmonics(firing, [1 / k**0.35 for k in range(1, 60)])
    engine = _engine(studio, firing, 0.8, spread=0.3)
    chain = studio.air(1500, 8000) * (0.6 + 0.4 * studio.tone(firing))
    roar = np.tanh(0.9 * unit_rms(buzz) + 0.5 * engine) + 0.3 * chain * (revs > 70)
    return np.asarray(roar * (0.3 + revs / 150))


def hammering(studio: Studio) -> Signal:
    """A hammer driving a nail into wood: a hard dull blow with a short ring of the nail."""
    total = studio.silence()
    for i, at_s in enumerate(studio.steady(0.52, 0.05, 0.3)):
        ring = 1 + 0.03 * (i % 5)
        parts = [(58.0, 0.029, 1.0), (656.0, 0.0039, 0.5), (5300.0 * ring, 0.0036, 0.9)]
        blow = studio.modes(0.3, parts) + 3.5 * studio.burst(0.3, 0.0113, 217, 1710)
        studio.put(total, blow, at_s, float(studio.rng.uniform(0.75, 1)))
    return studio.room(total, 0.6, 0.8, 1310)


def camera_shutter(studio: Studio) -> Signal:
    """A camera's shutter: the mirror up, the curtain, the mirror down, then the motor."""
    total = studio.silence()
    metal = [(1700, 0.006, 0.6), (3100, 0.005, 0.6), (5200, 0.004, 0.4), (420, 0.012, 0.5)]
    for start_s in (0.25, 1.05, 1.6):
        for offset_s, gain in ((0.0, 1.0), (0.022, 0.5), (0.085, 0.9), (0.1, 0.4)):
            click = studio.modes(0.06, metal) + studio.burst(0.06, 0.004, 900, 9000)
            studio.put(total, click, start_s + offset_s, gain)
        whirr = studio.harmonics(studio.line([(0, 300), (1, 420)], 0.16), (1, 0.6, 0.5, 0.3), 0.16)
        air = studio.air(1500, 6000, seconds=0.16)
        motor = (0.4 * whirr + 0.4 * air) * studio.swell(0.16, 0.2, 0.2)
        studio.put(total, motor, start_s + 0.13, 0.12)
    return studio.room(total, 0.2, 0.2)


def typing(studio: Studio) -> Signal:
    """Typing on a computer keyboard in quick uneven bursts."""
    total = studio.silence()
    now = 0.2
    while now < studio.duration_s - 0.2:
        heavy = studio.rng.uniform() < 0.12
        body_hz = float(studio.rng.uniform(180, 260) if heavy else studio.rng.uniform(330, 600))
        body = studio.modes(0.08, [(body_hz, 0.01, 0.5), (body_hz * 2.7, 0.006, 0.4)])
        down = body + studio.burst(0.08, float(studio.rng.uniform(0.003, 0.006)), 1500, 8000)
        studio.put(total, down, now, float(studio.rng.uniform(0.6, 1.0)) * (1.3 if heavy else 1))
        up = studio.burst(0.03, 0.002, 2500, 9000)
        studio.put(total, up, now + float(studio.rng.uniform(0.06, 0.09)), 0.3)
        now += float(studio.rng.gamma(6.0, 0.024)) + (0.35 if studio.rng.uniform() < 0.07 else 0)
    return studio.room(total, 0.2, 0.2)
