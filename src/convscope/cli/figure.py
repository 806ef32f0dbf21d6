"""``convscope figure NAME``: figures that papers have made well known."""

from __future__ import annotations

import click


@click.group()
def figure() -> None:
    """Draw a figure as papers show it."""
