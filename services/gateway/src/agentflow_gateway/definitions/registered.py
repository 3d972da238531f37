"""Shows registered workflows: a list by name, and one version with its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from agentflow_common.definition.model import load_trusted
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call
from agentflow_gateway.api.pages import Page
from agentflow_gateway.definitions import lookup
from agentflow_gateway.operations import controls_bucket
from agentflow_gateway.operations.controls_bucket import WorkflowPause
from agentflow_gateway.store.definitions import ListedRow
from agentflow_gateway.store.labels import LabelRow


class Shown(msgspec.Struct):
    """A registered version, and the labels and the pause of its workflow."""

    row: ListedRow
    labels: list[LabelRow]
    pause: WorkflowPause | None


class Text(msgspec.Struct):
    """The definition of a registered version."""

    shown: Shown
    definition: dict[str, Any]
    text: str


async def listed(call: Call, prefix: str, page: Page) -> tuple[Sequence[Shown], str]:
    """Returns (the workflows of a page, the next page's token or empty)."""
    limits.check_text(prefix, "name_prefix", 64)
    rows = await call.store.definitions.listed(call.org, prefix, page.after_name, page.limit + 1)
    shown, token = page.cut(rows, lambda row: (0, row.name))
    marks = await call.store.labels.of_all(call.org, [row.name for row in shown])
    pauses = await controls_bucket.workflow_pauses(call, [row.name for row in shown])
    return [Shown(row, marks.get(row.name, []), pauses.get(row.name)) for row in shown], token


async def find(call: Call, ref: str) -> Text:
    """Returns the version that a reference means. NotFoundError suggests what there is."""
    stored = await lookup.find(call, ref)
    row = await call.store.definitions.shown(call.org, stored.name, stored.version)
    if row is None:  # it was deleted just now
        raise await lookup.no_such_version(call, stored.name, stored.version)
    marks = await call.store.labels.list(call.org, stored.name)
    definition = load_trusted(msgspec.json.decode(stored.canonical)).canonical()
    pause = await controls_bucket.workflow_pause(call, stored.name)
    return Text(Shown(row, marks, pause), definition, row.source if row.source is not None else as_yaml(definition))


def as_yaml(definition: dict[str, Any]) -> str:
    """Returns a definition as YAML, which reads back to the same definition."""
    first = {name: definition[name] for name in ("name", "version")}
    text: str = yaml.safe_dump(first | definition, sort_keys=False, allow_unicode=True, width=110)
    return text
