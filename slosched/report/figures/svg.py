"""Matplotlib's SVG, made part of a page: smaller, in the page's colours, its ids nobody else's."""

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree as ET  # only what matplotlib has written is parsed

from markupsafe import Markup

from slosched.report.figures.ink import themed

_LINK = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_URL = re.compile(r"url\(#([^)]+)\)")
_FAMILY = re.compile(r" ?font-family: [^;]*;?")  # the page's own
_UNTURNED = re.compile(r"rotate\(-?0 [^)]*\)")
_DEFAULT = re.compile(r" ?stroke-dashoffset: 0;?")
_NUMERIC = ("d", "x", "y", "transform", "width", "height")


def embedded(svg: str, name: str, alt: str, notes: Mapping[str, str]) -> Markup:
    """Return `<svg>` for a page.

    Parameters
    ----------
    svg
        As matplotlib wrote it.
    name
        Of the picture; its ids begin with it.
    alt
        What the picture shows.
    notes
        Group id -> text that shows when the pointer rests on the group.
    """
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib's own
    for element in list(root):
        if _tag(element) == "metadata":
            root.remove(element)
    for parent in list(root.iter()):
        for element in list(parent):
            if _tag(element) == "style":  # it would hold for the whole page
                parent.remove(element)
    used = set(_references(root))
    for element in root.iter():
        element.tag = _tag(element)
        _tidy(element, name, used, notes)
    width = root.attrib["width"].removesuffix("pt")
    # CSS sets the size: as drawn where there is room, and smaller where there is not.
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "style": f"--width: {float(width):g}px",
        "role": "img",
        "aria-label": alt,
    }
    return Markup(_compact(ET.tostring(root, encoding="unicode")))  # noqa: S704 - escaped by ET


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        if _LINK in element.attrib:
            yield element.attrib[_LINK][1:]
        for value in element.attrib.values():
            yield from _URL.findall(value)


def _tidy(element: ET.Element, name: str, used: set[str], notes: Mapping[str, str]) -> None:
    attributes = element.attrib
    own = attributes.pop("id", "")
    if own in used:
        attributes["id"] = f"{name}-{own}"
    if own in notes:
        title = ET.Element("title")
        title.text = notes[own]
        element.insert(0, title)
    if _LINK in attributes:
        attributes["href"] = f"#{name}-{attributes.pop(_LINK)[1:]}"
    for key in _NUMERIC:
        if key in attributes:
            attributes[key] = " ".join(_NUMBER.sub(_rounded, attributes[key]).split())
    if _UNTURNED.fullmatch(attributes.get("transform", "")):
        del attributes["transform"]
    # Attributes take no variables, styles do.
    painted = [f"{key}: {attributes.pop(key)}" for key in ("fill", "stroke") if key in attributes]
    style = "; ".join([attributes.get("style", ""), *painted]).strip("; ")
    if style:
        style = _DEFAULT.sub("", _FAMILY.sub("", themed(style))).strip("; ")
        attributes["style"] = _URL.sub(rf"url(#{name}-\1)", style)
    if "clip-path" in attributes:
        attributes["clip-path"] = _URL.sub(rf"url(#{name}-\1)", attributes["clip-path"])


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _compact(svg: str) -> str:
    return re.sub(r">\s+<", "><", svg)
