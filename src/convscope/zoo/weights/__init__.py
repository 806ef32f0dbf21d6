"""Weights that come with convscope, and beside each the recipe that made it."""
