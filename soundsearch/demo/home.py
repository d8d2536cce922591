"""Doors, steps, glass, coins and clocks: things struck, broken and scraped."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, unit_peak, unit_rms


def knocking(studio: Studio) -> Signal:
    """Knuckles on a wooden door: two rounds of knocks, mostly dull noise that the panel shapes."""
    total = studio.silence()
    for start_s, n_knocks in ((0.35, 3), (1.75, 4)):
        for i in range(n_knocks):
            bend = float(studio.rng.uniform(0.96, 1.04))
            panel = [(129.0, 0.031, 1.0), (394.0, 0.011, 0.43), (1340.0, 0.0073, 0.11)]
            hit = studio.modes(0.3, [(f * bend, d, g) for f, d, g in panel])
            hit += 2.2 * studio.burst(0.3, 0.0112, 217, 1600)
            at_s = start_s + 0.21 * i + float(studio.rng.normal(0, 0.006))
            studio.put(total, hit, at_s, float(studio.rng.uniform(0.75, 1)))
    return studio.room(total, 0.25, 0.06, 1330)


def door_creak(studio: Studio) -> Signal:
    """An old door creaking open: wood and hinge sticking and slipping at a changing rate."""
    bend = [(0, 60), (0.15, 110), (0.35, 180), (0.5, 140), (0.65, 240), (0.85, 330), (1, 150)]
    rate_hz = studio.line(bend) * studio.drift(9, 0.8, 1.25)
    slips = studio.pulses(rate_hz, spread=0.35)
    wood = [
        Formant(480, 60, 0.8),
        Formant(870, 80, 1.0),
        Formant(1400, 110, 1.0),
        Formant(2150, 160, 0.8),
        Formant(3300, 300, 0.5),
    ]
    groan = unit_rms(studio.resonate(slips, wood))
    grip = studio.line([(0, 0), (0.05, 0.6), (0.3, 1), (0.45, 0.5), (0.6, 1), (0.9, 0.8), (1, 0)])
    return studio.room(groan * grip * studio.drift(6, 0.4, 1), 0.7, 0.25)


def door_slam(studio: Studio) -> Signal:
    """A heavy door slammed shut: the latch, the boom of the frame, the ring of the hallway."""
    total = studio.silence()
    frame = [(62, 0.11, 1.0), (98, 0.08, 0.9), (165, 0.05, 0.7), (310, 0.03, 0.4)]
    slam = studio.modes(0.6, frame) + 0.8 * studio.burst(0.6, 0.03, 90, 3500)
    studio.put(total, slam, 0.5)
    for offset_s, gain in ((0.045, 0.35), (0.11, 0.2), (0.16, 0.12)):
        latch = studio.modes(0.1, [(1300, 0.01, 1.0), (2700, 0.008, 0.7), (4400, 0.005, 0.4)])
        studio.put(total, latch, 0.5 + offset_s, gain)
    return studio.room(total, 1.1, 0.4, 2200)


def glass_breaking(studio: Studio) -> Signal:
    """A pane shattering: the blow, then hundreds of ringing shards raining on the floor."""
    total = studio.silence()
    at_s = 0.4
    studio.put(total, studio.burst(0.5, 0.03, 900, 14000, 0.0005), at_s, 1.3)
    studio.put(total, studio.modes(0.2, [(310, 0.02, 1.0), (700, 0.015, 0.7)]), at_s, 0.6)
    top_hz = 0.42 * studio.sample_rate
    for _ in range(230):
        fall_s = float(studio.rng.exponential(0.28))
        base = float(np.exp(studio.rng.uniform(np.log(2200), np.log(min(9000.0, top_hz)))))
        ratios = (1, *studio.rng.uniform(1.3, 3.5, 3))
        decay_s = float(studio.rng.uniform(0.008, 0.05))
        shard = studio.modes(0.25, [(base * r, decay_s / r, 1 / r) for r in ratios])
        studio.put(total, shard, at_s + fall_s, 0.35 * float(studio.rng.lognormal(-0.5, 0.6)))
    debris = studio.air(3000, 12000)
    age = studio.times() - at_s
    total += 0.12 * debris * np.where(age > 0, np.exp(-age / 0.35), 0)
    return studio.room(total, 0.5, 0.15, 9000)


def coin(studio: Studio) -> Signal:
    """A coin dropped on a table: bright bounces that quicken, then a spinning rattle."""
    total = studio.silence()
    metal = [(5900, 0.12, 1.0), (8300, 0.09, 0.7), (11900, 0.06, 0.5), (3350, 0.05, 0.35)]
    now, gap_s, strength = 0.3, 0.42, 1.0
    while now < studio.duration_s - 0.3 and strength > 0.04:
        bend = float(studio.rng.uniform(0.995, 1.005))
        ring = studio.modes(0.8, [(f * bend, d, g) for f, d, g in metal])
        studio.put(total, ring + 0.7 * studio.burst(0.8, 0.002, 500, 5000), now, strength)
        now += gap_s
        gap_s, strength = max(0.025, gap_s * 0.74), strength * 0.9
    return studio.room(total, 0.3, 0.12)


def ticking_clock(studio: Studio) -> Signal:
    """A wall clock: tick and tock, a second for the pair, each with a faint second click."""
    total = studio.silence()
    for i in range(int(2 * studio.duration_s)):
        base_hz = 2230 if i % 2 else 1970
        case = [(base_hz, 0.0028, 1.0), (2.1 * base_hz, 0.002, 0.6), (622, 0.0068, 0.29)]
        tick = studio.modes(0.08, case) + 1.6 * studio.burst(0.08, 0.0013, 1500, 9000)
        studio.put(total, tick, 0.1 + 0.5 * i)
        studio.put(total, tick, 0.1575 + 0.5 * i, 0.1)
    return studio.room(total, 0.32, 0.15, 6000)


def footsteps_wood(studio: Studio) -> Signal:
    """Shoes walking on a wooden floor: a heel that thuds and knocks, a lighter toe after it."""
    total = studio.silence()
    for at_s in studio.steady(0.55, 0.07, 0.3):
        for offset_s, gain, hardness in ((0.0, 1.0, 1.0), (0.088, 0.48, 0.47)):
            thud = studio.burst(0.3, 0.013, 56, 176, 0.0013)
            knock = studio.burst(0.3, 0.017, 557, 2870, 0.0013)
            board = studio.modes(0.3, [(210.0, 0.012, 0.5), (460.0, 0.008, 0.3)])
            step = 2.5 * thud + hardness * knock + board
            studio.put(total, step, at_s + offset_s, gain * float(studio.rng.uniform(0.7, 1)))
    return studio.room(total, 0.34, 0.14, 4340)


def footsteps_gravel(studio: Studio) -> Signal:
    """Boots crunching on gravel: every step a spray of small stones."""
    kinds = [
        studio.burst(0.02, float(studio.rng.uniform(0.001, 0.003)), low, 4.0 * low, 0.0003)
        for low in (900, 1300, 1800, 2400, 700, 1500)
    ]
    total = studio.silence()
    for at_s in studio.steady(0.6, 0.05, 0.3):
        for offset_s, length_s, gain in ((0.0, 0.16, 1.0), (0.15, 0.22, 0.75)):
            step = studio.lasting(length_s)
            crunch = step.shower(420, kinds, spread=0.8) * step.swell(length_s, 0.2, 0.6)
            studio.put(total, unit_peak(crunch), at_s + offset_s, gain)
        thud = studio.low_pass(studio.burst(0.15, 0.025, 50, 250), 300)
        studio.put(total, unit_peak(thud), at_s, 0.35)
    return total


def scissors(studio: Studio) -> Signal:
    """Scissors snipping paper."""
    total = studio.silence()
    for at_s in studio.steady(0.48, 0.08, 0.25):
        slide = studio.air(3000, 10000, seconds=0.17) * studio.swell(0.17, 0.7, 0.1)
        slide = slide * (0.6 + 0.4 * studio.drift(160, 0, 1, 0.17))
        blades = studio.modes(0.2, [(4300, 0.012, 1.0), (6700, 0.01, 0.8), (9100, 0.006, 0.5)])
        studio.put(total, unit_peak(slide), at_s, 0.35)
        studio.put(total, blades + studio.burst(0.2, 0.003, 2500, 10000), at_s + 0.165, 0.8)
    return total


def dishes(studio: Studio) -> Signal:
    """Plates and cutlery clattering in a kitchen."""
    total = studio.silence()
    for at_s in studio.poisson(5.5):
        if studio.rng.uniform() < 0.6:
            base = float(studio.rng.uniform(900, 2600))
            ratios, decay_s = (1, 2.32, 4.25, 6.63), float(studio.rng.uniform(0.04, 0.12))
        else:
            base = float(studio.rng.uniform(2800, 4800))
            ratios, decay_s = (1, 1.5, 2.1, 2.76), float(studio.rng.uniform(0.05, 0.2))
        clink = studio.modes(0.6, [(base * r, decay_s / r**0.6, 1 / r**0.5) for r in ratios])
        clink += 0.5 * studio.burst(0.6, 0.003, 1200, 9000)
        studio.put(total, clink, float(at_s), float(studio.rng.lognormal(-0.7, 0.7)))
    return studio.room(np.asarray(2 * np.tanh(total / 2)), 0.5, 0.2)
