"""Localisation: boxes from maps, by the protocols of the papers, and how right they are."""
