"""How templates are read, for every place that has some: strict, escaped, and with numbers as people read them."""

from __future__ import annotations

import jinja2

from convscope.render import text


def environment(package: str) -> jinja2.Environment:
    """The templates of a package, such as ``convscope.report``."""
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    pages.filters.update(figure=text.figure, percent=text.percent, scaled=text.scaled)
    return pages
