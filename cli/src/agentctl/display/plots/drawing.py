"""Developments over time, drawn by Matplotlib. It is loaded by the first picture only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from agentctl.display.output import clean
from agentctl.failures import CliError

if TYPE_CHECKING:
    from agentflow_sdk import TraceSeries, TraceSeriesPoint

WHAT: Final = ("cost", "latency", "errors", "tokens", "runs")
NAME_MAX: Final = 40
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#7b4173", "#7f7f7f")
LIGHT: Final = {"back": "#ffffff", "text": "#1b1f24", "line": "#d0d7de"}
DARK: Final = {"back": "#0d1117", "text": "#e6edf3", "line": "#30363d"}
_UNITS: Final = {"cost": "US dollars", "latency": "seconds", "errors": "failed", "tokens": "tokens", "runs": "number"}
_DPI: Final = 100


def draw(series: TraceSeries, what: Sequence[str], title: str, kind: str, *, dark: bool = False) -> bytes:
    """Returns a picture with a panel for each of `what`. kind: `png` or `svg`. Times are UTC.

    The same data give the same bytes. Raises CliError without Matplotlib.
    """
    try:
        import matplotlib as mpl
        import matplotlib.dates
        from matplotlib.figure import Figure
    except ImportError:
        raise CliError(
            "PNG and SVG need Matplotlib", fix="pip install 'agentctl[plot]', or write a .json file"
        ) from None
    colours = DARK if dark else LIGHT
    dates: Any = mpl.dates  # it has no types
    settings: Any = {
        "text.parse_math": False, "svg.hashsalt": "agentflow", "font.family": "DejaVu Sans", "font.size": 9,
        "text.color": colours["text"], "axes.labelcolor": colours["text"], "xtick.color": colours["text"],
        "ytick.color": colours["text"], "axes.edgecolor": colours["line"], "axes.facecolor": colours["back"],
        "figure.facecolor": colours["back"], "legend.facecolor": colours["back"], "legend.edgecolor": colours["line"],
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(10, 0.9 + 2.6 * len(what)), dpi=_DPI, layout="constrained")
        figure.suptitle(clean(title), fontsize=11)
        panels = figure.subplots(len(what), 1, sharex=True, squeeze=False)[:, 0]
        names = list(dict.fromkeys(point.series for point in series.points))
        for panel, name in zip(panels, what, strict=True):
            _panel(panel, series, name, names)
            panel.grid(axis="y", color=colours["line"], linewidth=0.6)
            panel.set_axisbelow(True)
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)
        last = panels[-1]
        last.set_xlim(_time(series.start_ms), _time(max(series.end_ms, series.start_ms + series.bucket_ms)))
        locator = dates.AutoDateLocator(tz=UTC)
        last.xaxis.set_major_locator(locator)
        last.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
        if names != [""]:
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        out = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, metadata=metadata)
    return out.getvalue()


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _panel(panel: Any, series: TraceSeries, what: str, names: Sequence[str]) -> None:
    panel.set_ylabel(_UNITS[what])
    title = {"latency": "latency (solid: median, dashed: p95)"}.get(what, what)
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold")
    by_name: dict[str, list[TraceSeriesPoint]] = {name: [] for name in names}
    for point in series.points:
        by_name[point.series].append(point)
    length = series.bucket_ms / 86_400_000  # Matplotlib counts in days
    below: dict[int, float] = {}
    for number, (name, points) in enumerate(by_name.items()):
        colour = COLOURS[min(number, len(COLOURS) - 1)]
        label = _label(name)
        if what == "latency":
            middle = [_time(point.at + series.bucket_ms // 2) for point in points]
            for field, style in (("latency_p50_ms", "-"), ("latency_p95_ms", "--")):
                values = [getattr(point, field) / 1000 for point in points]
                shown = label if style == "-" else "_p95"  # a legend has one line for both
                panel.plot(middle, values, style, color=colour, marker="o", markersize=3, label=shown)
            continue
        values = [value_of(point, what) for point in points]
        bottoms = [below.get(point.at, 0.0) for point in points]
        times = [_time(point.at) for point in points]
        panel.bar(times, values, width=length * 0.9, bottom=bottoms, align="edge", color=colour, label=label)
        for point, value in zip(points, values, strict=True):
            below[point.at] = below.get(point.at, 0.0) + value
    if what in ("errors", "tokens", "runs"):
        panel.yaxis.get_major_locator().set_params(integer=True)
    panel.set_ylim(bottom=0)


def value_of(point: TraceSeriesPoint, what: str) -> float:
    """Returns what a panel shows of a point, in its unit."""
    return {
        "cost": point.cost_nano_usd / 1e9,
        "latency": point.latency_p95_ms / 1000,
        "errors": float(point.errors),
        "tokens": float(point.tokens),
        "runs": float(point.count),
    }[what]


def _label(name: str) -> str:
    shown = clean(name).replace("\n", " ")
    shown = shown if len(shown) <= NAME_MAX else shown[: NAME_MAX - 3] + "..."
    return f" {shown}" if shown.startswith("_") else shown  # Matplotlib leaves labels out that begin so
