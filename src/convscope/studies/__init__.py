"""Experiments, one a file: networks trained alike and compared (``comparison``)."""
