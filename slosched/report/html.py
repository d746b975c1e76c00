"""Pages: one HTML file each, that needs nothing else."""

from collections.abc import Mapping
from typing import Any

from slosched.report import words
from slosched.report.figures.ink import variables
from slosched.version import __version__


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """Fill a template in; whatever is no Markup is escaped.

    Parameters
    ----------
    template
        Name of a file in `templates`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("slosched.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "seconds": words.seconds,
        "printable": words.printable,
    }
    page = environment.get_template(template).render(
        context, light=variables(dark=False), dark=variables(dark=True), version=__version__
    )
    return page.encode()
