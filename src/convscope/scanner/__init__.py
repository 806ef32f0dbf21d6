"""The scan: one pass over the images, every statistic of every unit of every layer at once, and an atlas in the end.

``plan`` says what is computed and how it is cut into shards, ``compute`` gives the state of a shard, with images that
``batches`` reads ahead and ``tally`` counts, ``run`` folds the shards into the atlas, ``manifest`` writes ``run.json``.
"""

from convscope.scanner.plan import select
from convscope.scanner.run import Progress, scan

__all__ = ["Progress", "scan", "select"]
