"""Six instruments, on which all sounds of the diorama are played: a second each, by rule and by draw.

Pitches and bands are in Hz, rates in events or swells a second, lengths and decays in seconds. A pair of numbers is a
range, from which a value is drawn whenever the instrument is played.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState  # old, and therefore frozen: its numbers are the same in every version
from numpy.typing import NDArray

from convscope.diorama.dice import Dice

RATE = 16_000  # samples in a second, which is the length of every sound
Samples = NDArray[np.float64]
Range = tuple[float, float]
HIGHEST = 0.48 * RATE  # so many samples hold no higher frequency
TIME = np.arange(RATE) / RATE
TURN = 2 * np.pi

# What rings when something is struck: multiples of the pitch, and how loud each is.
BELL = ((0.5, 0.4), (1.0, 1.0), (1.19, 0.6), (1.5, 0.4), (2.0, 0.7), (2.74, 0.3), (4.1, 0.2))
GLASS = ((1.0, 1.0), (2.32, 0.7), (4.25, 0.4))
WOOD = ((1.0, 1.0), (2.57, 0.3), (4.7, 0.1))
DROP = ((1.0, 1.0),)


@dataclass(frozen=True)
class Hum:
    """A tone that goes on, as of an engine.

    Args:
        partials: how many multiples of the pitch sound; the k-th is k^-fall as loud as the first.
        rise: how many octaves the pitch rises in the second.
        swing: how far the pitch goes up and down, as a share of it, `rate` times a second.
        swell: how far the loudness does, from 0 (not at all) to 1.
    """

    pitch: Range
    partials: int = 8
    fall: float = 1.0
    rise: Range = (0.0, 0.0)
    swing: float = 0.01
    swell: float = 0.0
    rate: Range = (3.0, 6.0)

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        pitch, rate, rise = d(*self.pitch), d(*self.rate), d(*self.rise)
        slow = np.sin(TURN * (rate * TIME + d(0, 1)))
        course = pitch * 2 ** (rise * TIME) * (1 + self.swing * slow)
        return _tone(course, self.partials, self.fall, d) * (1 + self.swell * slow)


@dataclass(frozen=True)
class Wind:
    """Noise of a band that goes on, as of wind or water; for the others see `Hum`."""

    low: Range
    high: Range
    swell: float = 0.3
    rate: Range = (0.5, 1.5)

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        made = _noise(d, d(*self.low), d(*self.high))
        return made * (1 + self.swell * np.sin(TURN * (d(*self.rate) * TIME + d(0, 1))))


@dataclass(frozen=True)
class Calls:
    """Short tones with a course of their own, as of animals.

    Args:
        sweep: octaves from the beginning of a call to its end.
        arch: octaves by which its middle is higher than both.
        breath: how much noise is in it.
        uneven: by how much the time between two of them varies, as a share of it.
    """

    pitch: Range
    length: Range
    rate: Range
    sweep: Range = (0.0, 0.0)
    arch: float = 0.0
    partials: int = 4
    fall: float = 1.0
    breath: float = 0.0
    uneven: float = 0.1

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        made, pitch, sweep = np.zeros(RATE), d(*self.pitch), d(*self.sweep)
        for start in _starts(d, d(*self.rate), self.uneven):
            samples = int(d(*self.length) * RATE)
            at = np.linspace(0, 1, samples)
            course = pitch * d(0.94, 1.06) * 2 ** (sweep * at + self.arch * np.sin(np.pi * at))
            call = _tone(course, self.partials, self.fall, d)
            if self.breath:
                call += self.breath * _noise(d, pitch, 4 * pitch)[:samples]
            _add(made, start, call * np.sqrt(np.sin(np.pi * at)))
        return made


@dataclass(frozen=True)
class Strikes:
    """Something that rings when it is struck, such as a bell; the blows are of different strength.

    Args:
        rings: multiples of the pitch, and how loud each is; the higher ones die away sooner.
    """

    pitch: Range
    rings: tuple[Range, ...]
    decay: Range
    rate: Range
    uneven: float = 0.1

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        pitch, decay, made = d(*self.pitch), d(*self.decay), np.zeros(RATE)
        blow = np.sum(
            [
                loud * np.exp(-TIME * ratio / decay) * np.sin(TURN * ratio * pitch * TIME)
                for ratio, loud in self.rings
                if ratio * pitch < HIGHEST
            ],
            axis=0,
        )
        for start in _starts(d, d(*self.rate), self.uneven):
            _add(made, start, d(0.5, 1) * blow)
        return made


@dataclass(frozen=True)
class Bursts:
    """Noise of a band that starts at once and dies away, as of steam, steps or rain."""

    low: Range
    high: Range
    decay: Range
    rate: Range
    uneven: float = 0.1

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        made, envelope = _noise(d, d(*self.low), d(*self.high)), np.zeros(RATE)
        shape = np.exp(-TIME / d(*self.decay))
        for start in _starts(d, d(*self.rate), self.uneven):
            _add(envelope, start, d(0.4, 1) * shape)
        return made * envelope


@dataclass(frozen=True)
class Strings:
    """Plucked strings, one after the other, by Karplus and Strong (1983): noise that goes round and is smoothed."""

    pitch: Range
    chord: tuple[int, ...]  # semitones above the pitch
    rate: Range

    def play(self, d: Dice) -> Samples:
        """A second of it."""
        made, pitch = np.zeros(RATE), d(*self.pitch)
        for start in _starts(d, d(*self.rate), 0.1):
            _add(made, start, self._string(pitch * 2 ** (d.pick(self.chord) / 12), d))
        return made

    def _string(self, pitch: float, d: Dice) -> Samples:
        noise = _random(d).uniform(-1, 1, round(RATE / pitch))
        rounds = [noise - noise.mean()]
        for _ in range(RATE // len(noise)):
            rounds.append(0.498 * (rounds[-1] + np.roll(rounds[-1], 1)))  # with 0.5 it would ring on for too long
        return np.concatenate(rounds)


Instrument = Hum | Wind | Calls | Strikes | Bursts | Strings


def _tone(course: Samples, partials: int, fall: float, d: Dice) -> Samples:
    """Multiples of a pitch that takes this course, k^-fall as loud as the first."""
    phase = TURN * (np.cumsum(course) / RATE + d(0, 1))
    most = min(partials, int(HIGHEST / course.max()))
    tone: Samples = np.sum([k**-fall * np.sin(k * phase) for k in range(1, most + 1)], axis=0)
    return tone


def _noise(d: Dice, low: float, high: float) -> Samples:
    """Noise between two frequencies, with a standard deviation of 1; outside it falls to nothing within an octave."""
    spectrum = np.fft.rfft(_random(d).standard_normal(RATE))
    frequency = np.fft.rfftfreq(RATE, 1 / RATE)[1:]
    outside = np.maximum(np.log2(low / frequency), np.log2(frequency / high))  # octaves
    spectrum[0] = 0
    spectrum[1:] *= np.exp(-8 * np.maximum(outside, 0) ** 2)
    made = np.fft.irfft(spectrum, RATE)
    level: Samples = made / made.std()
    return level


def _random(d: Dice) -> RandomState:
    return RandomState(d.whole(0, 2**31 - 1))


def _starts(d: Dice, rate: float, uneven: float) -> Iterator[int]:
    """The samples at which something starts, so many times a second; the first of them is in the first half."""
    at = d(0, min(1 / rate, 0.5))
    while at < 1:
        yield int(at * RATE)
        at += (1 + d(-uneven, uneven)) / rate


def _add(made: Samples, start: int, event: Samples) -> None:
    end = min(start + len(event), len(made))
    made[start:end] += event[: end - start]
