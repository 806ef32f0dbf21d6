"""One small trainer: from a recipe, a TOML file, to checkpoints of every stage and a log with the curves.

``recipe`` reads it into frozen tables (``fields``), ``schedules``, ``optimizers`` and ``augmentation`` are what it can
ask for, ``examples`` are the labelled images, ``loop`` is the training in memory, ``folder`` what is left on disk, and
``run`` the one that goes on after a kill.
"""

from convscope.training.recipe import Recipe
from convscope.training.run import Trained, train

__all__ = ["Recipe", "Trained", "train"]
