"""The table of calls and the permissions that they need, from the gateway's own table."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Final, NamedTuple

import agentflow.v1
from agentflow_gateway.auth_rules import PERMISSION_OF
from tests.docs.markdown import code
from tests.docs.markdown import table as markdown_table


class Beside(NamedTuple):
    """A permission that a call needs beside its own, and when."""

    permission: str
    when: str


BESIDE: Final = {
    "AnswerApproval": Beside("admin", "to answer in another person's name"),
    "GetDeadLetter": Beside("reveal", "for the body"),
    "GetRun": Beside("reveal", "for originals instead of tokens"),
    "QueryTraces": Beside("operator", "for runs of another org"),
    "RebuildTraces": Beside("operator", "always: it applies to all orgs"),
    "ReplayDeadLetters": Beside("operator", "with a repaired body"),
    "SetLane": Beside("operator", "always: a lane serves all orgs"),
    "SetRetention": Beside("operator", "always: it applies to all orgs"),
}


def services() -> Iterator[tuple[str, list[str]]]:
    """Yields each service of the gRPC API with its calls."""
    for module in pkgutil.iter_modules(agentflow.v1.__path__):
        if module.name.endswith("_pb2"):
            found = importlib.import_module(f"agentflow.v1.{module.name}")
            for service in found.DESCRIPTOR.services_by_name.values():
                yield service.name, [method.name for method in service.methods]


def table() -> str:
    rows = []
    for service, calls in sorted(services()):
        for call in calls:
            more = BESIDE.get(call)
            beside = f"{code(more.permission)} {more.when}" if more else ""
            rows.append((service, code(call), code(PERMISSION_OF[call]), beside))
    return markdown_table(("Service", "Call", "Permission", "And"), rows)
