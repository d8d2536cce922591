"""The workshop of procedural sound: sources, filters, envelopes, grains and rooms.

Everything is pure numpy: filters are applied as frequency responses (one FFT there, one back), so
neither scipy nor a sample-by-sample loop is needed. A `Studio` carries the three facts every recipe
needs (random generator, sample rate, length) and the tools that depend on them. Signals are float64
arrays of shape (time,), of any level: the level of a recording is set once, when it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
Curve = Signal | float
"""A value over time, one per sample, or the same value throughout."""

CONTROL_STEP = 64
"""Samples between two computed values of a slowly moving amplitude."""


def fast_fft_length(n_samples: int) -> int:
    """Smallest length >= n_samples with no prime factor above 5, which the FFT handles fast."""
    best = 1 << max(n_samples - 1, 1).bit_length()
    power_of_5 = 1
    while power_of_5 < best:
        odd = power_of_5
        while odd < best:
            length = odd << max(0, (-(-n_samples // odd) - 1).bit_length())
            best = min(best, length) if length >= n_samples else best
            odd *= 3
        power_of_5 *= 5
    return best


def whole_power(base: Signal, exponent: int) -> Signal:
    """base**exponent by repeated multiplication, several times faster than the general power."""
    result = base
    for _ in range(exponent - 1):
        result = result * base
    return result


def filter_spectrum(
    signal: Signal, response: Callable[[Signal], NDArray[np.complex128] | Signal], tail: int
) -> Signal:
    """Multiply the spectrum by response(cycles per sample), with room for `tail` ringing samples.

    Returns the same length as came in: what rings past the end is dropped.
    """
    n_fft = fast_fft_length(len(signal) + tail)
    spectrum = np.fft.rfft(signal, n_fft) * response(
        np.asarray(np.fft.rfftfreq(n_fft), dtype=np.float64)
    )
    return np.asarray(np.fft.irfft(spectrum, n_fft)[: len(signal)])


def convolve(signal: Signal, kernel: Signal) -> Signal:
    """Linear convolution, cut to the length of the signal."""
    n_fft = fast_fft_length(len(signal) + len(kernel))
    spectrum = np.fft.rfft(signal, n_fft) * np.fft.rfft(kernel, n_fft)
    return np.asarray(np.fft.irfft(spectrum, n_fft)[: len(signal)])


def unit_peak(signal: Signal) -> Signal:
    """The signal scaled so that its largest magnitude is 1; silence stays silence."""
    peak = float(np.max(np.abs(signal), initial=0.0))
    return signal / peak if peak > 0 else signal


def unit_rms(signal: Signal) -> Signal:
    """The signal scaled to a root mean square of 1; silence stays silence."""
    rms = float(np.sqrt(np.mean(signal**2)))
    return signal / rms if rms > 0 else signal


def db(decibels: float) -> float:
    """The amplitude factor of a gain in decibels."""
    return float(10.0 ** (decibels / 20.0))


@dataclass(frozen=True)
class Formant:
    """A resonance of a throat, a body or a tube: where, how wide, how strong (linear)."""

    frequency_hz: Curve
    bandwidth_hz: float
    gain: float = 1.0


def formant_gain(at_hz: Signal, formants: Sequence[Formant]) -> Signal:
    """Linear gain of parallel formants at these frequencies, over a faint floor.

    Moving formants must have one centre per column of at_hz.
    """
    total = np.full(at_hz.shape, 0.01)
    for formant in formants:
        offset = (at_hz - formant.frequency_hz) / (0.5 * formant.bandwidth_hz)
        total += formant.gain / (1.0 + offset**2)
    return total


@dataclass(frozen=True)
class Studio:
    """Where one recording is made: the tools know its random generator, rate and length.

    rng: every random choice of the recording comes from here.
    sample_rate: Hz. duration_s: seconds of the whole recording.
    """

    rng: np.random.Generator
    sample_rate: int
    duration_s: float

    # ---- time -------------------------------------------------------------------------------

    def lasting(self, duration_s: float) -> Studio:
        """The same generator and rate, another length: for a sound inside a sound."""
        return replace(self, duration_s=duration_s)

    def n(self, seconds: float | None = None) -> int:
        """Samples in so many seconds (default: the whole recording), at least 1."""
        return max(1, round((self.duration_s if seconds is None else seconds) * self.sample_rate))

    def times(self, seconds: float | None = None) -> Signal:
        """Seconds since the start, one value per sample."""
        return np.arange(self.n(seconds)) / self.sample_rate

    def silence(self, seconds: float | None = None) -> Signal:
        """Zeros."""
        return np.zeros(self.n(seconds))

    def line(self, points: Sequence[tuple[float, float]], seconds: float | None = None) -> Signal:
        """A curve through (fraction of the length, value) points, straight between them."""
        n = self.n(seconds)
        fractions, values = zip(*points, strict=True)
        return np.asarray(np.interp(np.arange(n) / n, fractions, values))

    def drift(
        self, rate_hz: float, low: float, high: float, seconds: float | None = None
    ) -> Signal:
        """A random curve in [low, high] that heads for a new value rate_hz times a second."""
        n = self.n(seconds)
        position = np.arange(n) / self.sample_rate * rate_hz
        points = self.rng.uniform(low, high, int(position[-1]) + 2)
        left = position.astype(np.int64)
        between = position - left
        eased = between * between * (3 - 2 * between)
        return np.asarray(points[left] * (1 - eased) + points[left + 1] * eased)

    def poisson(self, rate_hz: float, seconds: float | None = None) -> Signal:
        """Sorted random onsets in seconds, rate_hz of them a second on average."""
        span = self.duration_s if seconds is None else seconds
        return np.sort(self.rng.uniform(0.0, span, self.rng.poisson(rate_hz * span)))

    def steady(self, period_s: float, jitter: float, start_s: float = 0.2) -> list[float]:
        """Onsets in seconds about period_s apart; jitter is the spread as a share of the period."""
        onsets, now = [], start_s
        while now < self.duration_s - 0.1:
            onsets.append(now)
            now += period_s * (1.0 + jitter * float(self.rng.uniform(-1, 1)))
        return onsets

    # ---- sources ----------------------------------------------------------------------------

    def noise(self, seconds: float | None = None) -> Signal:
        """White Gaussian noise of RMS 1."""
        return self.rng.standard_normal(self.n(seconds))

    def air(
        self,
        low_hz: float,
        high_hz: float,
        *,
        slope_db_per_octave: float = 0.0,
        seconds: float | None = None,
        order: int = 2,
    ) -> Signal:
        """Noise of RMS 1 between two edges (Butterworth), white or falling (pink -3, brown -6).

        Drawn as a random spectrum, so it costs a single FFT.
        """
        n = self.n(seconds)
        n_fft = fast_fft_length(n)
        f_hz = np.asarray(np.fft.rfftfreq(n_fft, 1 / self.sample_rate), dtype=np.float64)
        ratio = whole_power(f_hz / low_hz, order)
        gain = ratio / np.sqrt((1 + ratio**2) * (1 + whole_power(f_hz / high_hz, 2 * order)))
        if slope_db_per_octave:
            gain *= np.maximum(f_hz, 10.0) ** (slope_db_per_octave / (20 * np.log10(2.0)))
        drawn = self.rng.standard_normal(2 * len(f_hz), dtype=np.float32).view(np.complex64)
        spectrum = drawn * (gain / np.max(gain)).astype(np.float32)
        return unit_rms(np.asarray(np.fft.irfft(spectrum, n_fft)[:n], dtype=np.float64))

    def phase(self, frequency_hz: Curve, seconds: float | None = None) -> Signal:
        """Cycles gone by at each sample of an oscillator with this frequency, random at start."""
        step = np.broadcast_to(np.asarray(frequency_hz) / self.sample_rate, (self.n(seconds),))
        return np.cumsum(step) + float(self.rng.uniform())

    def tone(self, frequency_hz: Curve, seconds: float | None = None) -> Signal:
        """A sine of constant or moving frequency."""
        return np.asarray(np.sin(2 * np.pi * self.phase(frequency_hz, seconds)))

    def harmonics(
        self, frequency_hz: Curve, gains: Iterable[float], seconds: float | None = None
    ) -> Signal:
        """Sum of the harmonics 1, 2, 3... with these gains; none above the Nyquist frequency."""
        cycles = self.phase(frequency_hz, seconds)
        top = float(np.max(frequency_hz))
        turn = np.exp(2j * np.pi * cycles)
        power, total = turn.copy(), np.zeros(len(cycles))
        for order, gain in enumerate(gains, start=1):
            if order * top > 0.48 * self.sample_rate:
                break
            if gain:
                total += gain * power.imag
            power *= turn
        return total

    def voice(
        self,
        frequency_hz: Curve,
        formants: Sequence[Formant],
        seconds: float | None = None,
        *,
        tilt: float = 1.0,
        breath: float = 0.03,
        jitter: float = 0.01,
        top_hz: float = 20000.0,
    ) -> Signal:
        """A voiced sound: harmonics falling as 1 / k**tilt, seen through moving formants.

        breath: share of noise, shaped by the mean formants. jitter: random wobble of the pitch.
        top_hz: no harmonics above; a low figure is quicker.
        """
        n = self.n(seconds)
        wobble = 1.0 + jitter * (
            self.drift(40.0, -1, 1, n / self.sample_rate)[:n]
            + self.drift(7.0, -1, 1, n / self.sample_rate)[:n]
        )
        pitch = np.broadcast_to(np.asarray(frequency_hz, dtype=np.float64), (n,)) * wobble
        grid = np.arange(0, n + CONTROL_STEP, CONTROL_STEP)
        pitch_grid = np.interp(grid, np.arange(n), pitch)
        turn = np.exp(2j * np.pi * (np.cumsum(pitch / self.sample_rate) + self.rng.uniform()))
        power, total = turn.copy(), np.zeros(n)
        n_harmonics = int(min(0.45 * self.sample_rate, top_hz) / max(20.0, float(np.min(pitch))))
        orders = np.arange(1, min(80, max(1, n_harmonics)) + 1)
        at_hz = orders[:, None] * pitch_grid  # (harmonic, control point)
        centred = [
            replace(f, frequency_hz=np.interp(grid, np.arange(n), f.frequency_hz))
            if isinstance(f.frequency_hz, np.ndarray)
            else f
            for f in formants
        ]
        gains = formant_gain(at_hz, centred) / orders[:, None] ** tilt
        gains *= at_hz < 0.47 * self.sample_rate
        ramp = np.arange(CONTROL_STEP) / CONTROL_STEP
        for gain in gains:
            between = gain[:-1, None] + np.diff(gain)[:, None] * ramp  # (control point, step)
            total += between.reshape(-1)[:n] * power.imag
            power *= turn
        total = unit_rms(total)
        if breath > 0:
            mean = [replace(f, frequency_hz=float(np.mean(f.frequency_hz))) for f in formants]
            rate = self.sample_rate
            air = filter_spectrum(self.noise(seconds), lambda f: formant_gain(f * rate, mean), 0)
            total = total + breath * unit_rms(air)
        return total

    def pulses(
        self, frequency_hz: Curve, seconds: float | None = None, *, spread: float = 0.1
    ) -> Signal:
        """One-sample pulses at this rate; spread: random variation of their strength."""
        cycles = self.phase(frequency_hz, seconds)
        beats = np.flatnonzero(np.diff(np.floor(cycles)) > 0)
        train = np.zeros(len(cycles))
        train[beats] = 1.0 + spread * self.rng.standard_normal(len(beats))
        return train

    def moving_band(
        self, centre_hz: Curve, width_hz: float, seconds: float | None = None
    ) -> Signal:
        """Narrow noise of RMS 1 whose centre moves: slow noise that modulates an oscillator."""
        slow_i, slow_q = (self.air(0.5, width_hz / 2, seconds=seconds, order=3) for _ in range(2))
        angle = 2 * np.pi * self.phase(centre_hz, seconds)
        return unit_rms(slow_i * np.cos(angle) - slow_q * np.sin(angle))

    # ---- filters ----------------------------------------------------------------------------

    def low_pass(self, signal: Signal, cutoff_hz: float, order: int = 2) -> Signal:
        """Zero-phase Butterworth magnitude."""
        cutoff = cutoff_hz / self.sample_rate
        return filter_spectrum(
            signal, lambda f: 1 / np.sqrt(1 + whole_power(f / cutoff, 2 * order)), self.n(0.01)
        )

    def high_pass(self, signal: Signal, cutoff_hz: float, order: int = 2) -> Signal:
        """Zero-phase Butterworth magnitude."""
        cutoff = cutoff_hz / self.sample_rate

        def response(f: Signal) -> Signal:
            ratio = whole_power(f / cutoff, order)
            return ratio / np.sqrt(1 + ratio**2)

        return filter_spectrum(signal, response, self.n(0.01))

    def resonate(self, signal: Signal, formants: Sequence[Formant]) -> Signal:
        """Parallel two-pole resonators, causal, each of gain `gain` at its (fixed) centre."""
        rate = self.sample_rate
        narrowest = min(formant.bandwidth_hz for formant in formants)

        def response(f: Signal) -> NDArray[np.complex128]:
            delay = np.exp(-2j * np.pi * f)
            total = np.zeros(f.shape, dtype=np.complex128)
            for formant in formants:
                centre = float(np.mean(formant.frequency_hz)) / rate
                pole = np.exp(-np.pi * formant.bandwidth_hz / rate + 2j * np.pi * centre)
                at_centre = abs(
                    (1 - pole * np.exp(-2j * np.pi * centre))
                    * (1 - pole.conjugate() * np.exp(-2j * np.pi * centre))
                )
                total += (
                    formant.gain * at_centre / ((1 - pole * delay) * (1 - pole.conjugate() * delay))
                )
            return total

        return filter_spectrum(signal, response, int(2.2 * rate / narrowest))

    # ---- envelopes and struck things ----------------------------------------------------------

    def strike(self, seconds: float, decay_s: float, attack_s: float = 0.001) -> Signal:
        """Fast rise, then exponential fall: by 8.7 dB every decay_s."""
        t = self.times(seconds)
        return np.asarray(np.minimum(1.0, t / max(attack_s, 1e-6)) * np.exp(-t / decay_s))

    def swell(self, seconds: float, rise: float = 0.1, fall: float = 0.3) -> Signal:
        """A smooth hump: rise and fall are shares of the length."""
        x = np.arange(self.n(seconds)) / self.n(seconds)
        up = np.clip(x / max(rise, 1e-6), 0, 1)
        down = np.clip((1 - x) / max(fall, 1e-6), 0, 1)
        return np.asarray(np.sin(0.5 * np.pi * np.minimum(up, down)) ** 2)

    def modes(
        self,
        seconds: float,
        partials: Iterable[tuple[float, float, float]],
        attack_s: float = 0.0005,
    ) -> Signal:
        """Modal synthesis: decaying sines given as (frequency_hz, decay_s, gain)."""
        t = self.times(seconds)
        total = np.zeros(len(t))
        for frequency_hz, decay_s, gain in partials:
            if frequency_hz > 0.48 * self.sample_rate:
                continue
            n_ringing = min(len(t), self.n(9 * decay_s))
            ringing = t[:n_ringing]
            angle = 2 * np.pi * (frequency_hz * ringing + self.rng.uniform())
            total[:n_ringing] += gain * np.exp(-ringing / decay_s) * np.sin(angle)
        return np.asarray(total * np.minimum(1.0, t / attack_s))

    def burst(
        self, seconds: float, decay_s: float, low_hz: float, high_hz: float, attack_s: float = 0.001
    ) -> Signal:
        """A struck noise of peak 1: band noise under a strike envelope."""
        air = self.air(low_hz, high_hz, seconds=seconds)
        return unit_peak(air * self.strike(seconds, decay_s, attack_s))

    def pluck(self, frequency_hz: float, seconds: float, *, damping: float = 0.996) -> Signal:
        """A plucked string after Karplus and Strong (1983), one period at a time.

        The loop is a whole number of samples; the result is resampled to hit the pitch.
        """
        n = self.n(seconds)
        period = max(2, round(self.sample_rate / frequency_hz - 0.5))
        actual_hz = self.sample_rate / (period + 0.5)
        n_periods = int(n * frequency_hz / actual_hz / period) + 3
        lap = self.rng.uniform(-1, 1, period)
        lap = 0.5 * (lap + np.roll(lap, 1))
        lap -= lap.mean()
        laps, last = np.empty((n_periods, period)), 0.0
        for i in range(n_periods):
            laps[i] = lap
            shifted = np.concatenate(([last], lap[:-1]))
            last = float(lap[-1])
            lap = damping * 0.5 * (lap + shifted)
        string = laps.reshape(-1)
        positions = np.arange(n) * (frequency_hz / actual_hz)
        return np.asarray(np.interp(positions, np.arange(len(string)), string))

    def bubble(self, frequency_hz: float, decay_s: float, rise: float = 0.1) -> Signal:
        """A gas bubble in water: a decaying sine that rises as the bubble nears the surface."""
        t = self.times(6 * decay_s)
        angle = frequency_hz * (t + 0.5 * rise * t**2 / decay_s)
        onset = np.minimum(1.0, t / 0.001)
        return np.asarray(onset * np.exp(-t / decay_s) * np.sin(2 * np.pi * angle))

    # ---- putting together ---------------------------------------------------------------------

    def put(self, canvas: Signal, grain: Signal, at_s: float, gain: float = 1.0) -> None:
        """Add a grain to the canvas, in place, from at_s on; what sticks out is cut off."""
        start = round(at_s * self.sample_rate)
        if 0 <= start < len(canvas):
            part = grain[: len(canvas) - start]
            canvas[start : start + len(part)] += gain * part

    def shower(self, rate_hz: float, kernels: Sequence[Signal], spread: float = 1.0) -> Signal:
        """Grains at random moments with log-normal strengths; which kernel sounds is random too."""
        n, longest = self.n(), max(len(kernel) for kernel in kernels)
        n_fft = max(4096, fast_fft_length(4 * longest))
        n_block = n_fft - longest + 1
        n_blocks = -(-n // n_block)
        spectrum = np.zeros((n_blocks, n_fft // 2 + 1), dtype=np.complex128)
        for kernel in kernels:
            train = np.zeros(n_blocks * n_block)
            onsets = (self.poisson(rate_hz / len(kernels)) * self.sample_rate).astype(np.int64)
            np.add.at(train, onsets, self.rng.lognormal(0.0, spread, len(onsets)))
            blocks = np.fft.rfft(train.reshape(n_blocks, n_block), n_fft, axis=1)
            spectrum += blocks * np.fft.rfft(kernel, n_fft)
        ringing = np.fft.irfft(spectrum, n_fft, axis=1)
        total = np.zeros(n_blocks * n_block + n_fft)
        for i, block in enumerate(ringing):
            total[i * n_block : i * n_block + n_fft] += block
        return total[:n]

    def room(
        self, signal: Signal, decay_s: float, wet: float, damping_hz: float = 4000.0
    ) -> Signal:
        """Add a reverberation that falls by 60 dB in decay_s; wet is its level against the dry."""
        length_s = min(decay_s, 3.0)
        air = self.air(60, damping_hz, seconds=length_s, order=1)
        air *= np.exp(-6.9 * self.times(length_s) / decay_s)
        air[: self.n(0.012)] = 0.0
        return signal + wet * convolve(signal, air / np.sqrt(np.sum(air**2)))
