"""What a page holds, told from its text."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET


def pictures(page: str) -> list[ET.Element]:
    """Return the pictures; an error if one is no well-formed XML."""
    found = re.findall(r"<svg viewBox.*?</svg>", page, re.DOTALL)
    return [ET.fromstring(svg) for svg in found]  # noqa: S314 - our own


def picture(page: str, label: str) -> ET.Element:
    """Return the one picture whose description begins so."""
    (found,) = [p for p in pictures(page) if p.attrib["aria-label"].startswith(label)]
    return found


def texts(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter("text")]


class Tags(HTMLParser):
    """Tags with their attributes, as a browser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())
