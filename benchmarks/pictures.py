"""Small SVG pictures that can be read on white and on black."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

COLOURS = ("#1f77b4", "#d95f02", "#2ca02c")
# What is neither curve nor text is grey, which shows on both; text follows the reader's choice.
GREY = "#8a8a8a"
STYLE = """<style>
text { fill: #24292f !important; font-family: sans-serif; }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de !important; } }
</style>"""


@dataclass(frozen=True)
class Panel:
    """Curves of one quantity.

    Parameters
    ----------
    lines
        Name of each curve -> its values.
    span
        How much of the quantity is shown at least, so that noise looks small; None to begin at 0.
    """

    quantity: str
    lines: Mapping[str, Sequence[float]]
    span: float | None = None


def curves(
    file: Path,
    xs: Sequence[float],
    panels: Sequence[Panel],
    *,
    label: str,
    marked: float | None = None,
) -> None:
    """Draw panels, one under the other, over the values of a parameter.

    Parameters
    ----------
    xs
        The values, in order; drawn at equal distances, as they are mostly powers.
    label
        Name of the parameter.
    marked
        The value that is the default, if it is among `xs`.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    colours = {"axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY}
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": file.stem, "font.size": 9, **colours}
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(4.6, 0.7 + 1.2 * len(panels)), sharex=True, squeeze=False
        )
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _draw(axis, len(xs), panel)
            if marked is not None and marked in xs:
                axis.axvline(list(xs).index(marked), color=GREY, linewidth=0.8, linestyle=":")
        bottom = axes[-1, 0]
        bottom.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        bottom.set_xlabel(label)
        axes[0, 0].legend(frameon=False, fontsize=8)
        figure.tight_layout()
        drawn = StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    file.write_text(_styled(drawn.getvalue()), encoding="utf-8")


def _draw(axis: Any, n: int, panel: Panel) -> None:  # noqa: ANN401 - matplotlib's
    for colour, (name, values) in zip(COLOURS, panel.lines.items(), strict=False):
        axis.plot(range(n), values, marker="o", markersize=3, color=colour, label=name)
    low, high = axis.get_ylim()
    if panel.span is None:
        axis.set_ylim(0, 1.1 * high)
    else:
        missing = max(panel.span - (high - low), 0.0)
        axis.set_ylim(low - missing / 2, high + missing / 2)
    axis.set_ylabel(panel.quantity)
    axis.grid(visible=True, color=GREY, linewidth=0.3, alpha=0.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _styled(svg: str) -> str:
    """Put our style at the picture's head; its own colours of texts give way to it."""
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + STYLE, svg, count=1)
