"""Scenes of two or more sounds, for queries such as "dog barking in rain"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soundsearch.demo import animals, home, machines, nature, people, signals
from soundsearch.demo.studio import Signal, Studio, db, unit_peak, unit_rms

GARDEN_DOG_S = (26.0, 30.0)
"""The only seconds of the evening garden in which the dog barks."""


def _pan(signal: Signal, place: Signal | float) -> NDArray[np.float64]:
    """Equal-power panning, (2, time): place runs from 0 (left) to 1 (right)."""
    angle = 0.5 * np.pi * np.broadcast_to(np.asarray(place, dtype=np.float64), signal.shape)
    return np.stack([signal * np.cos(angle), signal * np.sin(angle)])


def dog_in_rain(studio: Studio) -> Signal:
    """A dog barking out in the rain."""
    rain = unit_rms(nature.heavy_rain(studio))
    return unit_peak(animals.dog_barking(studio)) + 0.055 * rain


def birds_over_stream(studio: Studio) -> NDArray[np.float64]:
    """Birds singing above a brook: one on the left, one on the right, water in between."""
    stream = unit_rms(nature.stream(studio))
    water = np.stack([stream, np.roll(stream, studio.n(3.1))])
    left = _pan(unit_peak(animals.songbird(studio)), 0.2)
    right = _pan(unit_peak(animals.blackbird(studio)), 0.85)
    return 0.085 * water + 0.6 * left + 0.5 * right


def thunder_in_rain(studio: Studio) -> NDArray[np.float64]:
    """Thunder rolling through steady rain."""
    left = unit_rms(nature.heavy_rain(studio))
    rain = np.stack([left, np.roll(left, studio.n(4.3))])
    storm = studio.silence()
    studio.put(storm, unit_peak(nature.thunder(studio.lasting(6.0))), 2.0)
    return 0.08 * rain + _pan(storm, studio.line([(0, 0.3), (1, 0.7)]))


def footsteps_in_wind(studio: Studio) -> Signal:
    """Someone walking on gravel in a howling wind."""
    return unit_peak(home.footsteps_gravel(studio)) + 0.09 * unit_rms(nature.gusty_wind(studio))


def siren_through_traffic(studio: Studio) -> NDArray[np.float64]:
    """A police car passing from left to right through city traffic."""
    left = unit_rms(machines.traffic(studio))
    street = np.stack([left, 0.8 * left + 0.4 * studio.air(60, 900, slope_db_per_octave=-4)])
    age = studio.times() - 0.5 * studio.duration_s
    passing = unit_peak(signals.police_siren(studio)) / np.sqrt(1 + (age / 2.0) ** 2)
    return 0.12 * street + _pan(passing, 0.5 + 0.4 * np.tanh(age / 2.5))


def cafe(studio: Studio) -> NDArray[np.float64]:
    """A busy cafe: people talking while plates and cups clatter."""
    talk = unit_rms(people.crowd_murmur(studio))
    shifted = np.roll(talk, studio.n(1.7))
    clatter = unit_peak(home.dishes(studio))
    return 0.16 * np.stack([talk, shifted]) + 0.5 * _pan(clatter, 0.65)


def gulls_at_sea(studio: Studio) -> NDArray[np.float64]:
    """Gulls calling over the surf."""
    waves = unit_rms(nature.ocean_waves(studio))
    surf = np.stack([waves, 0.8 * waves + 0.3 * studio.air(200, 3000, slope_db_per_octave=-3)])
    gulls = unit_peak(animals.seagulls(studio))
    return 0.14 * surf + 0.55 * _pan(gulls, studio.drift(0.3, 0.1, 0.9))


def evening_garden(studio: Studio) -> Signal:
    """Forty seconds of crickets and a light breeze; a dog barks only within GARDEN_DOG_S."""
    insects = unit_rms(animals.crickets(studio))
    breeze = studio.air(80, 1500, slope_db_per_octave=-4) * studio.drift(0.5, 0.3, 1)
    total = db(-31) * insects + db(-37) * breeze
    start_s, end_s = GARDEN_DOG_S
    dog = studio.lasting(end_s - start_s)
    barks = dog.silence()
    for at_s in (0.1, 0.5, 1.35, 1.75, 2.15, 3.0, 3.35):
        studio.put(barks, animals.bark(studio), at_s, float(studio.rng.uniform(0.8, 1)))
    barks = dog.room(barks, 0.5, 0.22) * dog.line([(0, 1), (0.95, 1), (1, 0)])
    studio.put(total, unit_peak(barks), start_s)
    return total
