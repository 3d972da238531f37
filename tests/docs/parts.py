"""The parts of docs/ that are made from the code, and how they get into their files.

A part is a whole file, or what stands between two remarks in a page that is written by hand:

    <!-- made by `make docs`: NAME -->
    <!-- end: NAME -->

To add one, write a function that returns its text and name it in `PARTS`. `make docs` writes all of them, and
`test_parts_are_fresh.py` fails for one that is not what the code says now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from agentflow_common.definition import json_schema
from agentflow_common.schedules.json_schema import schedule_schema
from tests.docs import builder, detection, errors, explain, metrics, permissions, settings, transitions
from tests.support.paths import ROOT


class Part(NamedTuple):
    path: str  # the file, below the repository's root
    section: str  # the name in the two remarks; empty: the whole file
    make: Callable[[], str]

    @property
    def name(self) -> str:
        return f"{self.path}#{self.section}" if self.section else self.path


PARTS: Final = (
    Part("docs/detection.md", "categories", detection.categories),
    Part("docs/detection.md", "languages", detection.languages),
    Part("docs/detection.md", "vendors", detection.vendors),
    Part("docs/engine.md", "step diagram", transitions.step_diagram),
    Part("docs/engine.md", "step diagram after an attempt", transitions.again_diagram),
    Part("docs/engine.md", "step events", transitions.step_table),
    Part("docs/engine.md", "run diagram", transitions.run_diagram),
    Part("docs/errors.md", "codes", errors.codes),
    Part("docs/errors.md", "step types", errors.types_of_steps),
    Part("docs/errors.md", "model types", errors.types_of_models),
    Part("docs/errors.md", "tree", errors.tree),
    Part("docs/errors.md", "kinds", errors.kinds),
    Part("docs/explain.md", "kinds", explain.table),
    Part("docs/keys-and-permissions.md", "calls", permissions.table),
    Part("docs/metrics.md", "alerts", metrics.alerts_table),
    Part("docs/metrics.md", "labels", metrics.labels_table),
    Part("docs/metrics.md", "metrics", metrics.metrics_table),
    Part("docs/schema/schedule.schema.json", "", lambda: json_schema.text(schedule_schema())),
    Part("docs/schema/workflow.schema.json", "", lambda: json_schema.text(json_schema.workflow_schema())),
    Part("docs/settings.md", "settings", settings.table),
    Part("sdk/python/README.md", "builder", builder.calls),
)


def now(part: Part) -> str:
    """Returns the file as it is; empty if there is none yet."""
    path = ROOT / part.path
    return path.read_text("utf-8") if path.exists() else ""


def wanted(part: Part) -> str:
    """Returns the file as it should be."""
    if not part.section:
        return part.make()
    start, end = f"<!-- made by `make docs`: {part.section} -->\n", f"<!-- end: {part.section} -->"
    before, found, rest = now(part).partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{part.path} has no section {part.section!r}: write {start.strip()} and {end} into it")
    return f"{before}{start}\n{part.make().strip()}\n\n{end}{after}"
