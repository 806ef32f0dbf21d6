"""What things sound like, and what a scene sounds like: a second of sound for each kind of thing, made by rule.

    from convscope.diorama.sound import RATE, ambient, sound

    sound("dog", seed=7)  # (RATE,) float32, from -1 to 1
    ambient(render("objects", "test", 7))  # all things that are seen, and the place

What makes no sound of its own has that of what is done with it or lives on it: rain falls on the umbrella, and bees are
about the flower. Clutter is silent.
"""

from __future__ import annotations

import math
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.dice import Dice
from convscope.diorama.folder import new_folder
from convscope.diorama.instruments import (
    BELL,
    DROP,
    GLASS,
    RATE,
    WOOD,
    Bursts,
    Calls,
    Hum,
    Instrument,
    Samples,
    Strikes,
    Strings,
    Wind,
)
from convscope.diorama.scene import Scene
from convscope.errors import ImagesError, nearest

Wave = NDArray[np.float32]
STEPS = 32_767  # values are multiples of 1/32767, so that a file of 16 bits holds the sound itself

# Of each kind: instruments that play together, and how loud each is.
SOUNDS: dict[str, tuple[tuple[float, Instrument], ...]] = {
    # roar and whine of the engines
    "airplane": ((1, Wind((70, 110), (500, 800), 0.1)), (0.3, Hum((1500, 2000), partials=2, swing=0.002))),
    # the burner
    "balloon": ((1, Wind((250, 400), (1200, 1800), 0.95, (0.7, 1.1))),),
    # freewheel, and now and then its bell
    "bicycle": ((1, Bursts((2200, 2800), (4500, 5500), (0.002, 0.003), (16, 24), 0.02)),
                (0.6, Strikes((1700, 2100), GLASS, (0.1, 0.2), (1, 2)))),
    # chirps
    "bird": ((1, Calls((2600, 3600), (0.05, 0.1), (5, 8), (-0.7, 0.7), arch=0.3, partials=2, uneven=0.4)),),
    # an idling diesel
    "bus": ((1, Hum((32, 42), partials=20, fall=0.6, swing=0.03, swell=0.5, rate=(8, 12))),
            (0.2, Wind((300, 400), (900, 1200)))),
    # wings
    "butterfly": ((1, Bursts((120, 200), (700, 1000), (0.02, 0.03), (10, 14))),),
    # a cicada sits on it
    "cactus": ((1, Hum((4300, 5200), partials=1, swell=0.95, rate=(35, 50))),),
    # an engine that speeds up, and tyres
    "car": ((1, Hum((75, 110), partials=16, fall=0.8, rise=(0.3, 0.8))),
            (0.3, Wind((500, 700), (1800, 2500), 0.1))),
    # meow
    "cat": ((1, Calls((450, 650), (0.45, 0.6), (1.2, 1.8), (-0.3, 0.1), arch=0.6, partials=8, fall=0.7)),),
    # creaks
    "chair": ((1, Calls((45, 70), (0.2, 0.35), (1.5, 2.5), (0.3, 0.9), partials=40, fall=0.2, uneven=0.3)),),
    # barks
    "dog": ((1, Calls((280, 420), (0.1, 0.16), (2.5, 4), (-0.6, -0.3), arch=0.3, partials=10, fall=0.6, breath=0.7)),),
    # trumpets
    "elephant": ((1, Calls((330, 440), (0.6, 0.8), (1, 1.3), (0, 0.3), arch=0.3, partials=14, fall=0.1, breath=0.5)),),
    # bubbles
    "fish": ((1, Calls((350, 600), (0.03, 0.06), (9, 15), (0.8, 1.4), partials=1, uneven=0.8)),),
    # a bee
    "flower": ((1, Hum((190, 250), partials=12, fall=0.5, rise=(-0.1, 0.1), swing=0.06, swell=0.4, rate=(1, 3))),),
    # a chord
    "guitar": ((1, Strings((110, 165), (0, 4, 7, 12, 16, 19), (4, 6))),),
    # its door bell
    "house": ((1, Strikes((620, 700), DROP, (0.25, 0.35), (1, 1.3))),
              (0.9, Strikes((490, 550), DROP, (0.3, 0.5), (1, 1.3)))),
    # hums at the mains
    "lamp": ((1, Hum((99, 101), partials=9, fall=0.3, swing=0)), (0.05, Wind((3000, 3500), (5000, 6000), 0))),
    # drops fall on it
    "mushroom": ((1, Calls((900, 1300), (0.03, 0.05), (3, 5), (-0.9, -0.5), partials=1, uneven=0.5)),),
    # waves, and ropes against the mast
    "sailboat": ((1, Wind((180, 260), (700, 1000), 0.8, (1.2, 2))),
                 (0.5, Strikes((2500, 3000), GLASS, (0.03, 0.05), (3, 5), 0.4))),
    # whistles
    "teapot": ((1, Hum((2100, 2700), partials=2, fall=1.5, rise=(0.0, 0.2))),
               (0.2, Wind((3000, 4000), (6000, 7000), 0.1))),
    # steam
    "train": ((1, Bursts((250, 350), (1800, 2600), (0.05, 0.08), (4, 6), 0.03)), (0.25, Hum((300, 330), partials=6))),
    # leaves
    "tree": ((1, Wind((1300, 1800), (4500, 6000), 0.6, (0.6, 1.2))),),
    # rain falls on it
    "umbrella": ((1, Bursts((1000, 1400), (5000, 7000), (0.003, 0.005), (60, 110), 0.9)),),
    # sails, and an axle that creaks
    "windmill": ((1, Wind((90, 130), (350, 500), 0.9, (1.8, 2.6))),
                 (0.3, Calls((600, 800), (0.15, 0.2), (1.8, 2.6), partials=6, fall=0.3))),
    # the kinds of the split novel
    # ticks
    "clock": ((1, Strikes((1900, 2300), WOOD, (0.006, 0.01), (3.5, 5), 0.02)),),
    # hums, as giraffes do at night
    "giraffe": ((1, Hum((88, 98), partials=3, fall=1.5, swing=0.04, swell=0.2, rate=(1, 2))),),
    # a spoon
    "mug": ((1, Strikes((2600, 3400), GLASS, (0.06, 0.1), (4, 7), 0.5)),),
    # fronds that clatter
    "palm": ((1, Bursts((500, 700), (2200, 3000), (0.012, 0.02), (14, 22), 0.7)),),
    # eats
    "rabbit": ((1, Bursts((2500, 3200), (5500, 7000), (0.015, 0.025), (7, 9), 0.1)),),
    # roars and crackles
    "rocket": ((1, Wind((25, 40), (2500, 4000), 0.2, (0.2, 0.4))),
               (0.5, Bursts((60, 90), (400, 600), (0.01, 0.02), (20, 35), 0.9))),
    # runners on the snow, and small bells
    "sledge": ((0.4, Wind((1800, 2400), (3500, 4500), 0.2)),
               (1, Strikes((4800, 5600), BELL, (0.05, 0.08), (6, 8), 0.2))),
    # steps in the snow
    "snowman": ((1, Bursts((900, 1200), (2200, 3000), (0.08, 0.12), (1.8, 2.4))),),
    # somebody knocks on it
    "table": ((1, Strikes((170, 250), WOOD, (0.03, 0.05), (4, 6), 0.05)),),
    # goes backwards
    "truck": ((0.6, Calls((950, 1100), (0.3, 0.35), (1.6, 2), partials=3, uneven=0)),
              (1, Hum((45, 60), partials=16, fall=0.7, swing=0.02))),
    # sings
    "whale": ((1, Calls((160, 300), (0.6, 0.9), (1, 1.3), (-1.0, 1.0), arch=0.3, partials=3, fall=1.5)),),
    # a wheel that squeaks, on gravel
    "wheelbarrow": ((0.6, Calls((1200, 1700), (0.1, 0.15), (2, 3), (0.1, 0.4), partials=3)),
                    (1, Wind((100, 160), (500, 900), 0.5, (5, 8)))),
}  # fmt: skip

HISS = Wind((60, 60), (6000, 6000), 0.0)  # behind every sound

# What places sound like.
SEA, BREEZE = Wind((200, 300), (900, 1400), 0.8, (0.3, 0.6)), Wind((150, 250), (500, 800), 0.5, (0.3, 0.8))
LEAVES, TRAFFIC = Wind((1500, 2000), (4000, 5000), 0.5, (0.4, 0.8)), Wind((50, 80), (250, 400), 0.2)
BACKGROUND = {
    "beach": SEA, "harbour": SEA, "reef": Wind((40, 60), (150, 250), 0.3), "desert": BREEZE, "field": BREEZE,
    "mountain": BREEZE, "snow": BREEZE, "forest": LEAVES, "garden": LEAVES, "street": TRAFFIC,
    "city at night": TRAFFIC, "fair": Wind((250, 350), (900, 1300), 0.6, (3, 5)),
}  # fmt: skip
FAINT = 0.02  # the peak of a place


def sound(kind: str, seed: int | str = 0, index: int = 0) -> Wave:
    """A second of what a kind of thing sounds like (RATE,), from -1 to 1: the same for the same arguments.

    Pitch, rhythm, loudness and the noise behind it are drawn; its peak is between 0.3 and 0.9.

    Args:
        index: another number is another draw.

    Raises:
        ImagesError: no such kind sounds.
    """
    if kind not in SOUNDS:
        raise ImagesError(f"diorama: {kind!r} makes no sound{nearest(kind, SOUNDS)}; what does is {', '.join(SOUNDS)}")
    d = Dice("sound", kind, seed, index)
    made = sum((loud * _level(each.play(d)) for loud, each in SOUNDS[kind]), np.zeros(RATE))
    made = _level(made) + d(0.001, 0.01) * _level(HISS.play(d))
    return _stepped(d(0.3, 0.9) * _level(made))


def ambient(scene: Scene) -> Wave:
    """A second of what a scene sounds like (RATE,): its things, and faintly the place.

    The power of a thing goes with the area that is seen of it, as that of equal sources does with their distance. Rooms
    are silent.
    """
    key = f"{scene.label_set}/{scene.split}/{scene.seed}/{scene.index}"
    made = np.zeros(RATE)
    for thing in scene.things:
        if thing.kind in SOUNDS:
            made += math.sqrt(thing.area) * sound(thing.kind, key, thing.number)
    if scene.category in BACKGROUND:
        made += FAINT * _level(BACKGROUND[scene.category].play(Dice("background", scene.category, key)))
    return _stepped(made / max(1.0, float(np.abs(made).max())))


def _level(samples: Samples) -> Samples:
    """With a peak of 1."""
    level: Samples = samples / np.abs(samples).max()
    return level


def _stepped(samples: Samples) -> Wave:
    return (np.round(samples * STEPS) / STEPS).astype(np.float32)


def write_sounds(folder: str | Path) -> int:
    """Write a WAV file for each kind that sounds; gives their number.

    Raises:
        ImagesError: something is at `folder` already.
        OSError: the disk is full, or the folder cannot be written; nothing is left of it then.
    """
    with new_folder(folder) as out:
        for kind in SOUNDS:
            with wave.open(str(out / f"{kind}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes(np.round(sound(kind) * STEPS).astype("<i2").tobytes())
    return len(SOUNDS)
