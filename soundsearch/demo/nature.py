"""Weather, water and fire."""

from __future__ import annotations

import numpy as np

from soundsearch.demo.studio import Formant, Signal, Studio, db, unit_peak, unit_rms


def _drops(studio: Studio, low_hz: float, high_hz: float, n_kinds: int = 10) -> list[Signal]:
    """Kinds of short splashes: a click of noise and a damped ring somewhere in the band."""
    kinds = []
    for _ in range(n_kinds):
        pitch = float(np.exp(studio.rng.uniform(np.log(low_hz), np.log(high_hz))))
        click = studio.burst(0.02, 0.0025, low_hz, min(2.5 * high_hz, 0.45 * studio.sample_rate))
        ring = studio.modes(0.02, [(pitch, 0.003, 0.6)])
        kinds.append(click + ring)
    return kinds


def light_rain(studio: Studio) -> Signal:
    """Single drops on leaves and stone over a soft hiss."""
    hiss = studio.air(563, 6110, slope_db_per_octave=-2.9, order=1)
    patter = studio.shower(345, _drops(studio, 1720, 6230, 8), spread=0.8)
    drops = studio.shower(45, _drops(studio, 1040, 2920, 6), spread=0.8)
    return hiss + 0.3 * unit_rms(patter) + 0.65 * unit_rms(drops)


def heavy_rain(studio: Studio) -> Signal:
    """A dense downpour: thousands of drops a second merge into a broad roar."""
    roar = studio.air(420, 7500, slope_db_per_octave=-2.9, order=1)
    patter = studio.shower(1800, _drops(studio, 1500, 6000, 8), spread=0.8)
    near = studio.shower(160, _drops(studio, 900, 2900, 6), spread=0.7)
    return roar + 0.25 * unit_rms(patter) + 0.45 * unit_rms(near)


def hail(studio: Studio) -> Signal:
    """Hard stones rattling on a metal roof."""
    kinds = []
    for _ in range(12):
        base = studio.rng.uniform(700, 1800)
        partials = [(base * r, studio.rng.uniform(0.006, 0.02), 1 / r) for r in (1, 1.7, 2.6, 4.1)]
        kinds.append(studio.modes(0.12, partials) + studio.burst(0.12, 0.003, 1500, 9000))
    stones = studio.shower(70, kinds, spread=0.8)
    return unit_rms(stones) + 0.25 * studio.air(800, 8000)


def wind(studio: Studio) -> Signal:
    """A steady wind in trees: rumble, rush, leaves and a soft howl that rises with the gusts."""
    gust = studio.drift(0.5, 0.35, 0.65)
    rumble = studio.air(35, 250, slope_db_per_octave=-4)
    rush = studio.air(150, 2500, slope_db_per_octave=-4, order=1)
    total = rumble * (0.3 + 0.9 * gust) + 0.8 * rush * (0.12 + gust**1.5)
    for centre_hz, width_hz in ((380, 70), (610, 60), (900, 110)):
        bend = gust * studio.drift(0.8, 0.7, 1.2)
        total += 0.25 * studio.moving_band(centre_hz * (0.75 + 0.5 * bend), width_hz) * gust**2
    return total + 0.35 * studio.air(1500, 6000) * gust**2


def gusty_wind(studio: Studio) -> Signal:
    """Strong gusts, buffeting and with a faint howl round a corner of the house."""
    gust = studio.drift(0.92, 0.05, 1.0)
    buffet = studio.air(35, 105, slope_db_per_octave=-4) * (0.3 + 0.9 * gust)
    rush = studio.air(102, 3630, slope_db_per_octave=-0.3, order=1) * (0.12 + gust**1.5)
    total = buffet + 0.24 * rush
    for centre_hz, width_hz in ((520, 228), (836, 196), (1233, 358)):
        bend = gust * studio.drift(0.8, 0.7, 1.2)
        total += 0.1 * studio.moving_band(centre_hz * (0.75 + 0.5 * bend), width_hz) * gust**2
    return total


def thunder(studio: Studio) -> Signal:
    """A stroke not far off: a muffled crack, then claps that roll away ever darker."""
    total = studio.silence()
    start_s = 0.35
    crack = studio.burst(0.7, 0.065, 79, 5400, 0.004)
    for _ in range(7):
        studio.put(total, crack, start_s + float(studio.rng.uniform(0, 0.24)), 0.12)
    left_s = studio.duration_s - start_s
    for delay_s in np.sort(studio.rng.uniform(0.02, 0.75, 16)) ** 1.3 * left_s:
        length_s = float(studio.rng.uniform(0.8, 2.2))
        cutoff_hz = 225 * np.exp(-1.1 * delay_s / left_s) + 90
        clap = studio.air(19.6, cutoff_hz, slope_db_per_octave=-3.2, seconds=length_s, order=1)
        clap = unit_peak(clap * studio.strike(length_s, 0.59, 0.088))
        studio.put(total, clap, start_s + float(delay_s), float(studio.rng.uniform(0.5, 1)))
    rumble = studio.air(25, 344, slope_db_per_octave=-3.2)
    envelope = studio.line([(0, 0), (0.06, 0.1), (0.15, 1), (0.5, 0.6), (1, 0.05)])
    total += 1.28 * rumble * envelope * studio.drift(3, 0.4, 1)
    return studio.room(total, 2.5, 0.19, 3090) * studio.line([(0, 1), (0.8, 1), (1, 0.1)])


def ocean_waves(studio: Studio) -> Signal:
    """Surf: each wave swells, breaks with a roar and runs out hissing over the sand."""
    low = studio.air(60, 700, slope_db_per_octave=-4)
    mid = studio.air(300, 3500, slope_db_per_octave=-3)
    foam = studio.air(2500, 16000, slope_db_per_octave=-1)
    total = 0.25 * low + 0.08 * mid
    t = studio.times()
    for break_s in studio.steady(4.6, 0.15, start_s=2.0):
        age = t - break_s
        strength = float(studio.rng.uniform(0.7, 1.0))
        swell = np.where(age < 0, np.exp(age / 0.9), np.exp(-age / 1.3))
        crash = np.where(age < 0, np.exp(age / 0.35), np.exp(-age / 1.1))
        hiss = np.where(age < 0.5, np.exp((age - 0.5) / 0.5), np.exp(-(age - 0.5) / 1.6))
        total += strength * (0.7 * swell * low + crash * mid + 0.35 * hiss * foam)
    return total


def _bubbles(studio: Studio, rate_hz: float, low_hz: float, high_hz: float) -> Signal:
    total = studio.silence()
    for at_s in studio.poisson(rate_hz):
        pitch = float(np.exp(studio.rng.uniform(np.log(low_hz), np.log(high_hz))))
        bubble = studio.bubble(pitch, float(studio.rng.uniform(4, 14)) / pitch, 0.15)
        studio.put(
            total, bubble, float(at_s), (low_hz / pitch) ** 0.5 * studio.rng.lognormal(0, 0.6)
        )
    return total


def stream(studio: Studio) -> Signal:
    """A brook over stones: hundreds of bubbles a second on a bed of rushing water."""
    bubbles = unit_rms(_bubbles(studio, 260, 380, 3200))
    rush = studio.air(400, 6000, slope_db_per_octave=-3)
    return bubbles * studio.drift(2, 0.7, 1) + 0.55 * rush * studio.drift(3, 0.75, 1)


def dripping_water(studio: Studio) -> Signal:
    """A tap dripping into a basin, each drop with the plink of a trapped bubble."""
    total = studio.silence()
    for at_s in studio.steady(0.85, 0.12, 0.4):
        splash = studio.burst(0.03, 0.004, 1500, 8000)
        pitch = float(studio.rng.normal(1150, 110))
        studio.put(total, splash, at_s, 0.3)
        studio.put(total, studio.bubble(pitch, 0.028, 0.22), at_s + 0.018)
        studio.put(total, studio.bubble(pitch * 1.9, 0.012, 0.15), at_s + 0.055, 0.3)
    return studio.room(total, 0.7, 0.35)


def pouring_water(studio: Studio) -> Signal:
    """Water poured into a glass whose air column shortens, so its tone rises as it fills."""
    bubbles = unit_rms(_bubbles(studio, 168, 694, 4640))
    rush = studio.air(706, 8000, slope_db_per_octave=-3.3)
    rise_hz = studio.line([(0, 420), (0.6, 900), (0.9, 2100), (1, 2400)])
    column = studio.moving_band(rise_hz, 180) + 0.5 * studio.moving_band(3 * rise_hz, 250)
    poured = bubbles + 1.05 * rush + 0.6 * column * studio.drift(9, 0.5, 1)
    return poured * studio.line([(0, 0), (0.06, 1), (0.92, 1), (0.96, 0.1), (1, 0)])


def fire(studio: Studio) -> Signal:
    """A wood fire: sharp crackles of every size over a low flutter."""
    kinds = [
        studio.burst(0.03, float(studio.rng.uniform(0.0006, 0.004)), low, 9500, 0.0002)
        for low in (300, 600, 1000, 1800, 2600, 3500, 800, 1400)
    ]
    crackles = studio.shower(28, kinds, spread=1.2)
    snaps = studio.shower(2.5, [studio.room(kind, 0.1, 0.3) for kind in kinds[:3]], spread=0.7)
    flutter = studio.air(40, 300, slope_db_per_octave=-5)
    hiss = studio.air(2000, 9000)
    crackles = np.tanh(crackles / 4.0) * 4.0
    return (
        crackles
        + 2.0 * np.tanh(snaps)
        + 0.10 * flutter * studio.drift(6, 0.4, 1)
        + 0.035 * hiss * studio.drift(2, 0.4, 1)
    )


def earthquake_rumble(studio: Studio) -> Signal:
    """The ground shaking: a swelling rumble with rattling objects."""
    rumble = studio.air(25, 110, slope_db_per_octave=-5)
    shake = studio.drift(9, 0.2, 1) * studio.line([(0, 0.05), (0.3, 0.8), (0.6, 1), (1, 0.05)])
    rattle = studio.resonate(
        studio.shower(45, [studio.burst(0.05, 0.006, 300, 4000)]),
        [Formant(420, 90), Formant(980, 140), Formant(2100, 200, 0.6)],
    )
    return shake * (rumble + db(-14) * unit_rms(rattle))
