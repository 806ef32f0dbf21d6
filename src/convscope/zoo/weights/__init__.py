"""Weights that come with convscope; ``convscope.training.embedded`` says how they were made."""
