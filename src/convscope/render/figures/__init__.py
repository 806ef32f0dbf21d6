"""Figures for papers, with Matplotlib (the extra ``figures``): 300 dpi PNG, or PDF and SVG with text as text.

``filters``, ``activations`` and ``unit`` each draw one figure; ``sheet`` is what they draw on.
"""

from convscope.errors import ConvscopeError

try:  # here, as every figure's file is reached through this one
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ConvscopeError(f"figures need Matplotlib ({error}); pip install 'convscope[figures]'") from error
