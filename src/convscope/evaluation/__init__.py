"""How good networks are: top-1 and top-5 error, calibration and confusions, in one pass over labelled images.

>>> found = convscope.evaluate([network, other], "photos/val", crops="ten", ensemble=True)
>>> found.rows[0].top1.error, found.rows[0].top1.interval

``crops`` says what a network sees of a picture, ``run`` makes the pass, ``row`` counts what a network or an ensemble
gives, ``calibration`` how far its confidence can be believed, ``intervals`` what chance can do, and ``result`` is all
of it.
"""

from convscope.evaluation.calibration import Calibration
from convscope.evaluation.result import Comparison, Evaluation
from convscope.evaluation.row import Row
from convscope.evaluation.run import evaluate

__all__ = ["Calibration", "Comparison", "Evaluation", "Row", "evaluate"]
