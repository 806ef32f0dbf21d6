"""Figures for papers, with Matplotlib (the extra ``figures``): 300 dpi PNG, or PDF and SVG with text as text.

``filters``, ``activations`` and ``unit`` each draw one figure; ``sheet`` is what they draw on.
"""
