"""People's words for units: what they wrote, how precise it is, and how far they agree [METHODS 5.5 and 5.6].

>>> found = summarize(read(["annotations.json"]))
>>> found.row("conv5").shares["object"]
"""

from convscope.annotation.files import read
from convscope.annotation.record import CATEGORIES, Annotation, Annotations, Category
from convscope.annotation.summary import Summary, summarize

__all__ = ["CATEGORIES", "Annotation", "Annotations", "Category", "Summary", "read", "summarize"]
