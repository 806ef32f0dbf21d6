"""The scan: one pass over the images, every statistic of every unit of every layer at once, and an atlas in the end.

``plan`` says what is computed and how it is cut into shards, ``compute`` gives the state of a shard, with images that
``batches`` reads ahead and ``tally`` counts. ``executors`` has shards computed here, or by a ``worker`` elsewhere that
makes the plan again by its ``recipe``; ``run`` folds them into the atlas, ``manifest`` writes ``run.json``. ``parts``
are scans on machines that know nothing of each other.
"""

from convscope.scanner.cluster import cluster
from convscope.scanner.parts import merge, scan_part
from convscope.scanner.plan import select
from convscope.scanner.progress import Progress
from convscope.scanner.run import scan

__all__ = ["Progress", "cluster", "merge", "scan", "scan_part", "select"]
