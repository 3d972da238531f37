"""Developments over time as one HTML file: the picture, light and dark, and its numbers as a table."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from agentctl.display.output import clean, duration, money
from agentctl.display.plots.drawing import draw

if TYPE_CHECKING:
    from agentflow_sdk import TraceSeries

ROWS_MAX: Final = 2_000
STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0; padding: 16px 24px 48px; font: 14px/1.45 system-ui, sans-serif; background: light-dark(#fff, #0d1117);
  color: light-dark(#1b1f24, #e6edf3); }
h1 { font-size: 20px; overflow-wrap: anywhere; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 3px 14px 3px 0; overflow-wrap: anywhere; }
th, td { border-bottom: 1px solid light-dark(#d0d7de, #30363d); }
.n { text-align: right; font-variant-numeric: tabular-nums; }
"""
HEADERS: Final = ("time (UTC)", "series", "number", "failed", "cost", "tokens", "median", "p95")


def page(series: TraceSeries, what: Sequence[str], title: str) -> str:
    """Returns the file. It loads nothing and runs no program."""
    pictures = [base64.b64encode(draw(series, what, title, "svg", dark=dark)).decode() for dark in (False, True)]
    rows = "".join(_row(line, "td") for line in _lines(series))
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    shown, about = html.escape(clean(title)), f"{', '.join(what)} over time; the table below has the numbers"
    left_out = len(series.points) - ROWS_MAX
    note = f"<p>The table shows the first {ROWS_MAX:,} of {len(series.points):,} points.</p>" if left_out > 0 else ""
    light, dark = (f"data:image/svg+xml;base64,{picture}" for picture in pictures)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{shown}</h1>\n"
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{html.escape(about)}"></picture>\n'
        f"<h2>Numbers</h2>\n{note}<table>\n<thead>{_row(HEADERS, 'th')}</thead>\n<tbody>{rows}</tbody>\n</table>\n"
        "</main>\n</body>\n</html>\n"
    )


def _lines(series: TraceSeries) -> list[tuple[str, ...]]:
    from datetime import UTC, datetime

    return [
        (
            datetime.fromtimestamp(point.at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"), point.series or "all",
            f"{point.count:,}", f"{point.errors:,}", money(point.cost_nano_usd), f"{point.tokens:,}",
            duration(point.latency_p50_ms), duration(point.latency_p95_ms),
        )
        for point in series.points[:ROWS_MAX]
    ]  # fmt: skip


def _row(cells: Sequence[str], tag: str) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    made = "".join(
        f"<{tag}{scope}{' class=n' if number > 1 else ''}>{html.escape(clean(cell))}</{tag}>"
        for number, cell in enumerate(cells)
    )
    return f"<tr>{made}</tr>"
