"""A sanity check on preprocessing: whether the network sees its images as its weights expect them.

>>> for finding in sanity.check(network, images):
...     print(finding.message)

``inputs`` looks at what arrives at the network and needs no labels; with labels ``labels`` tries other preprocessings
on a few images, and compares the accuracy with chance. See docs/sanity.md for the rules and how often they err.
"""

from convscope.sanity.check import check
from convscope.sanity.finding import Finding

__all__ = ["Finding", "check"]
