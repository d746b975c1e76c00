"""Colours by name: pictures are drawn in stand-ins, which the page's CSS variables replace.

The colours of curves are those of Okabe and Ito (jfly.uni-koeln.de/color), which people tell apart
whatever colours they see; darker on white and lighter on black, so that each has a contrast of at
least 3 with the page. Dashes tell apart too what has the same colour.
"""

import re

INKS = {  # name: (on white, on black)
    "paper": ("#ffffff", "#15181c"),
    "text": ("#1f2328", "#e4e7eb"),
    "faint": ("#5a636d", "#a0a9b3"),
    "grid": ("#dde1e6", "#31373e"),
    "limit": ("#1f2328", "#e4e7eb"),
    "met": ("#0072b2", "#56b4e9"),
    "missed": ("#c2510a", "#ff9a4d"),
    "curve0": ("#0072b2", "#56b4e9"),
    "curve1": ("#c2510a", "#ff9a4d"),
    "curve2": ("#00805c", "#2fc79a"),
    "curve3": ("#a8558a", "#e59ac6"),
    "curve4": ("#94700b", "#e8c64a"),
    "curve5": ("#5a636d", "#b9c1ca"),
}
CURVES = [name for name in INKS if name.startswith("curve")]
_STAND_INS = {name: f"#fe00{i:02x}" for i, name in enumerate(INKS)}
_NAMES = {stand_in: name for name, stand_in in _STAND_INS.items()}
_STAND_IN = re.compile("#fe00[0-9a-f]{2}")


def ink(name: str) -> str:
    """Return the stand-in of a colour, for matplotlib."""
    return _STAND_INS[name]


def themed(style: str) -> str:
    """Put the page's variables in place of all stand-ins of a style."""
    return _STAND_IN.sub(lambda match: f"var(--{_NAMES[match[0]]})", style)


def variables(*, dark: bool) -> str:
    """Return the variables' values as CSS."""
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in INKS.items())
