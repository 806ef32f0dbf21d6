"""Explanations: what predictions rest on, by several methods beside each other, with evidence by which to judge them.

>>> found = convscope.explain(network, "cat.jpg", "cam, saliency", "top3")
>>> found[0].predictions, found.map("cam").values

See docs/explaining.md for what is in them.
"""

from convscope.explanation.columns import Prediction
from convscope.explanation.result import Cell, Explained, Explanation
from convscope.explanation.run import Explaining, explain

__all__ = ["Cell", "Explained", "Explaining", "Explanation", "Prediction", "explain"]
