"""Filters of a network: their weights, how they are shown, and whether they are noise [METHODS 1.3, 1.4, 3.1 to 3.6].

``weights`` takes them out of a recorded graph, ``display`` makes greys and grids of numbers, ``noise`` tells learned
filters from random ones, ``colour`` says how coloured and how fine a filter of the first layer is.
"""
