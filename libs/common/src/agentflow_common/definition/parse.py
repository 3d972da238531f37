"""The parser that makes a checked definition from text or plain data.

`parse_text` and `parse_dict` return a `Definition`, or raise InvalidDefinitionError with every problem. A problem has
its place (with the line, for text), what is wrong, and how to fix it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from agentflow_common.definition import field_hints
from agentflow_common.definition import problems as definition_problems
from agentflow_common.definition import repair as definition_repair
from agentflow_common.definition.checks.definition import check
from agentflow_common.definition.graph_style import Authored, normalise
from agentflow_common.definition.inputs import InputSpec
from agentflow_common.definition.model import PROBLEMS_MAX, Dag, Definition, Edge, Graph, StateSpec
from agentflow_common.definition.nodes.lock import Lock
from agentflow_common.definition.nodes.run_lane import RunLane
from agentflow_common.definition.yaml_text import load
from agentflow_common.errors import InvalidError, Problem
from agentflow_common.json_values import kind_of
from agentflow_common.places import Lines, Place, dotted, line_of, with_line

_LEVELS: Final[dict[Place, frozenset[str]]] = {  # the fields that each place outside of nodes may have
    (): field_hints.names_of(Definition),
    ("dag",): field_hints.names_of(Dag),
    ("dag", "edges", "*"): field_hints.names_of(Edge),
    ("inputs", "*"): field_hints.names_of(InputSpec),
    ("graph",): field_hints.names_of(Graph),
    ("graph", "state"): field_hints.names_of(StateSpec),
    ("run_lane",): field_hints.names_of(RunLane),
    ("lock", "*"): field_hints.names_of(Lock),
}


class InvalidDefinitionError(InvalidError):
    """A definition with mistakes; `problems` has each."""

    def __init__(
        self, problems: tuple[Problem, ...], readable: Definition | None, repair: definition_repair.Repair | None
    ) -> None:
        first = InvalidError.of(problems, "the workflow definition is not valid")
        super().__init__(first.message, problems=problems, kind="invalid_definition")
        self.readable = readable  # the definition with stand-ins for its mistakes; None if it can't be read at all
        self.repair = repair  # what was replaced; None if nothing was


def parse_dict(data: Any, lines: Lines | None = None) -> Definition:
    """Returns a checked definition from plain data.

    Raises InvalidDefinitionError if it has mistakes, and InvalidError if it is not a mapping.
    lines: the line of each path in the data, 1-based.
    """
    if not isinstance(data, dict):
        raise InvalidError.at(
            _place((), lines), f"the definition must be a mapping, got {kind_of(data)}", "start with `name:` and `dag:`"
        )
    authored = _with_listed_lock(normalise(data))
    found = [Problem(_place(path, lines), message, fix) for path, message, fix in authored.problems]
    definition: Definition | None = None
    repair: definition_repair.Repair | None = None
    try:
        definition = Definition.model_validate(authored.data)
    except ValidationError as error:
        places = [(definition_problems.located(item), item) for item in _of_their_own(error)]
        texts = [(loc, item, *definition_problems.explained(item, loc, authored, _LEVELS)) for loc, item in places]
        known = {problem.place for problem in found}
        for loc, item, message, fix in texts:
            misspelt = item["type"] == "missing" and any(
                other[:-1] == loc[:-1] and hint.startswith(f"did you mean {loc[-1]!r}?") for other, _, _, hint in texts
            )
            place = _place(loc, lines, authored.origin)
            if place not in known and not misspelt and not _follows(_written(loc, authored.origin), authored):
                found.append(Problem(place, message, fix))
                known.add(place)
        repair = definition_repair.repaired(authored.data, [(loc, item["type"]) for loc, item in places])
        definition = _readable(repair.data)
    if definition is not None and not authored.problems:
        for path, message, fix in check(definition):
            if repair is None or repair.trusts(path):
                found.append(Problem(_place(path, lines, authored.origin), message, fix))
    if found:
        found.sort(key=line_of)
        readable = definition if not authored.problems else None
        raise InvalidDefinitionError(tuple(found[:PROBLEMS_MAX]), readable, repair)
    if definition is None:
        raise AssertionError("a definition was refused without a problem")
    return definition


def _with_listed_lock(authored: Authored) -> Authored:
    """Makes a lock that stands alone a list of one, whose problems are those of the lock."""
    lock = authored.data.get("lock")
    if not isinstance(lock, dict):
        return authored
    authored.origin["lock", 0] = ("lock",)
    return authored._replace(data={**authored.data, "lock": [lock]})


def _follows(path: Place, authored: Authored) -> bool:
    """True if a problem at this place follows from one that was found before the schema was checked."""
    places = [place for place, _, _ in authored.problems]
    return any(place and path[: len(place)] == place for place in places) or (path == ("entry_point",) and () in places)


def _of_their_own(error: ValidationError) -> list[Any]:
    """Returns pydantic's errors without those that only follow from others."""
    raw: list[Any] = list(error.errors(include_url=False))[:PROBLEMS_MAX]
    # a list of nodes that are wrong is also reported as too short
    inner = any(item["loc"][:2] == ("dag", "nodes") and len(item["loc"]) > 2 for item in raw)
    return [item for item in raw if not (inner and item["type"] == "too_short" and item["loc"] == ("dag", "nodes"))]


def _readable(data: dict[str, Any] | None) -> Definition | None:
    try:
        return None if data is None else Definition.model_validate(data)
    except ValidationError:
        return None


def parse_text(text: str, source: str = "definition") -> Definition:
    """Returns a checked definition from YAML or JSON text. Raises InvalidError with the line of each problem."""
    data, lines = load(text, source)
    return parse_dict(data, lines)


def _written(path: Place, origin: Mapping[Place, Place]) -> Place:
    """Returns the path in the author's text."""
    known = next((n for n in range(len(path), 0, -1) if path[:n] in origin), 0)
    return (*origin.get(path[:known], ()), *path[known:])


def _place(path: Place, lines: Lines | None, origin: Mapping[Place, Place] | None = None) -> str:
    """Returns a place in the author's terms.

    origin: the place of each part in the author's text, if the text has another shape than the data.
    """
    path = _written(path, origin or {})
    text = dotted(path)
    return with_line(path, text, lines) if lines is not None else text or "definition"
