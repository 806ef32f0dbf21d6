"""Clips: a scene in which the camera and the things move, with the exact motion of every pixel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.diorama.camera import Window
from convscope.diorama.compose import Plan
from convscope.diorama.dice import Dice
from convscope.diorama.motion import CALM, camera_path, thing_path
from convscope.diorama.scene import Mask, Scene, render
from convscope.errors import ImagesError


@dataclass(frozen=True, eq=False)
class Clip:
    """A scene in motion. Its world is the still image: x and y in shares of it, (0, 0) its upper left corner.

    Things keep their numbers; `Scene.things` of a frame lists those that it shows. What is nearer stays nearer. Of a
    thing that the edge of a frame cuts off, `Thing.hidden` is a share of what lies in the frame.

    Args:
        frames: the images, each with its maps and things.
        camera: zoom, x and y of the window on the world that each frame shows (frames, 3).
        motion: by number of a thing, where it is in each frame, as x and y from where the still image shows it
            (frames, 2).
    """

    frames: tuple[Scene, ...]
    camera: NDArray[np.float64]
    motion: dict[int, NDArray[np.float64]]

    def flow(self, t: int) -> tuple[NDArray[np.float32], Mask]:
        """Where the surface at each pixel of frame t goes until frame t + 1.

        Shadows move with their things, and hide what they fall on.

        Returns:
            Pixels down and to the right (size, size, 2), and which pixels are still seen in frame t + 1: neither out
            of the image nor behind something nearer (size, size).

        Raises:
            ImagesError: there is no such pair of frames.
        """
        if not 0 <= t < len(self.frames) - 1:
            raise ImagesError(f"diorama: flow from frame {t}; expected 0 to {len(self.frames) - 2}")
        frame, size = self.frames[t], self.frames[t].size
        owners = np.array(frame._plan.owners)
        before, after = (self._windows(each)[owners + 1].take(frame._labels, 0) for each in (t, t + 1))
        grown, shift = after[..., 0] / before[..., 0] - 1, (before - after) * after[..., :1]
        pixels = (np.arange(size) + 0.5) / size
        flow = size * np.stack([pixels[:, None] * grown + shift[..., 2], pixels * grown + shift[..., 1]], -1)
        # Labels are those of the upper left quarters, so these are what is followed to where the next frame has them.
        quarters = np.floor(2 * (np.indices((size, size)).transpose(1, 2, 0) + 0.25 + flow)).astype(int)
        inside = ((quarters >= 0) & (quarters < 2 * size)).all(-1)
        y, x = np.clip(quarters, 0, 2 * size - 1).transpose(2, 0, 1)
        depth = _depths(frame._plan)
        hidden = depth[self.frames[t + 1]._index[y, x]] > depth[frame._labels]
        return flow.astype(np.float32), inside & ~hidden

    def _windows(self, t: int) -> NDArray[np.float64]:
        """Zoom, x and y of the windows through which one sees the place and each thing, as they lie in the still image.

        A thing that has moved looks as if it had stayed and the camera had moved the other way.
        """
        steps = np.stack([np.zeros(2), *(path[t] for path in self.motion.values())])
        windows: NDArray[np.float64] = self.camera[t] - np.pad(steps, ((0, 0), (1, 0)))
        return windows


def _depths(plan: Plan) -> NDArray[np.int64]:
    """How near each item is: the place, then shadows, then things; what moves as one hides nothing of itself."""
    pairs = zip(plan.items, plan.owners, strict=True)
    return np.array([owner + 1 + (owner >= 0 and not item.cast) * len(plan.actors) for item, owner in pairs])


def clip(label_set: str, split: str, index: int, size: int = 96, *, frames: int = 16, seed: int = 0) -> Clip:
    """An image of the diorama in motion: the same for the same arguments, in any process.

    The camera pans, zooms or stands; vehicles, animals and what flies move at their pace, some of them; all else stands
    still. Nothing turns, so in clips of more than 16 frames things go back as they came. Of label set ``scenes`` the
    first frame is the image that `render` gives; of ``objects`` it is a part of it that shows all of the main object.
    Patterns move and grow with their surfaces, lines keep their width, and the grain is new in every frame.

    Args:
        frames: how many, 2 or more; a longer clip begins with the shorter one.

    Others as in `render`.

    Raises:
        ImagesError: there is no such label set or split, or no such size, or there are too few frames.
    """
    if frames < 2:
        raise ImagesError(f"diorama: a clip of {frames} frames; expected 2 or more")
    still = render(label_set, split, index, size, seed=seed)
    made = still._plan
    d = Dice("clip", label_set, split, seed, index)
    long = max(frames, CALM + 1)  # the camera looks ahead, also for a clip that ends before
    paths = [thing_path(made, actor, d, long) for actor in made.actors]
    camera = camera_path(made, paths, d, long)[:frames]
    shown = Clip((), camera, {number: path[:frames] for number, path in enumerate(paths, 1)})
    plans = []
    for t in range(frames):
        grain = made.grain if t == 0 else (d.whole(0, 63), d.whole(0, 63), made.grain[2])
        plans.append(_seen(made, shown._windows(t), grain))
    return dataclasses.replace(shown, frames=tuple(dataclasses.replace(still, _plan=each) for each in plans))


def _seen(made: Plan, windows: NDArray[np.float64], grain: tuple[int, int, int]) -> Plan:
    """The plan of a frame: the place seen through the first window, each thing through its own."""
    through = [Window(*each) for each in windows.tolist()]
    items = [through[owner + 1].item(item) for item, owner in zip(made.items, made.owners, strict=True)]
    cast = []
    for number, actor in enumerate(made.actors):
        own = tuple(item for item, owner in zip(items, made.owners, strict=True) if owner == number)
        window = through[number + 1]
        cast.append(dataclasses.replace(actor, items=own, box=window.box(actor.box), base=window.height(actor.base)))
    patterns = windows[np.array(made.owners) + 1]
    return dataclasses.replace(made, items=tuple(items), actors=tuple(cast), grain=grain, patterns=patterns)
