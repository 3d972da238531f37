"""Random workflows of every node type whose values are odd; most can be registered, some have to be refused."""

from __future__ import annotations

import random
from typing import Any, Final

from affuzz import expressions, values

IDS: Final = (
    "a", "b", "items", "values", "get", "mro", "__class__", "keys", "size", "result", "n1", "x", "run", "org", "_",
    "type", "lambda", "list", "dict", "int", "map", "string", "has", "call", "Undefined", "context",
)  # fmt: skip
BAD_IDS: Final = (
    "null",
    "true",
    "none",
    "self",
    "inputs",
    "loop",
    "in",
    "not",
    "a b",
    "",
    "1a",
    "\u00e9",
    "END",
    "a-b",
)
INPUTS: Final = ("q", "items", "self", "none", "n", "class", "x y", "get")
WORK: Final = {"function_name": "f"}
CHILD: Final = {
    "name": "child",
    "inputs": {"n": {"type": "any", "required": False}},
    "outputs": {"r": "two.output", "n": "{{ n }}"},
    "dag": {
        "nodes": [
            {"id": "one", "type": "function", "config": WORK,
             "compensate_with": {"type": "function", "config": {"function_name": "undo"}}},
            {"id": "two", "type": "function",
             "config": {**WORK, "inputs": {"n": "{{ n }}", "o": "{{ one.output.x or [] }}"}}},
        ],
        "edges": [{"from": "one", "to": "two"}],
    },
}  # fmt: skip


class Maker:
    """One definition. earlier: ids of nodes that stand before the one that is made."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.earlier: list[str] = []
        self.bad = rng.random() < 0.05
        self.inputs = rng.sample(INPUTS, rng.choice([0, 1, 2]))
        self.lane = rng.choice(["{{org}}-l", "{{org}}-" + self.template()])  # one: the check of slots knows no more

    def names(self, more: tuple[str, ...] = ()) -> list[str]:
        """What an expression may begin with."""
        spoken = [f"{name}.{field}" for name in self.earlier for field in ("output", "output", "status", "error")]
        inputs = [name for name in self.inputs if name.isidentifier() and name != "none"]
        fields = [f"inputs.{name}" for name in inputs]
        return [*spoken, *inputs, *fields, *more, *more, "inputs", "run", "tags"]

    def value(self, more: tuple[str, ...] = (), depth: int = 2) -> Any:
        """An argument: a reference, a template, plain, or these inside of something."""
        rng, luck = self.rng, self.rng.random()
        if luck < 0.25 and self.earlier:
            part = rng.choice(["output", "output.x", "output.items", "output.items[0]", "output[0]", "output.x.y"])
            return f"{rng.choice(self.earlier)}.{rng.choice([part, part, part, 'error', 'error.type', 'status'])}"
        if luck < 0.65:
            return expressions.template(rng, self.names(more))
        if luck < 0.75 and depth:
            return {values.key(rng): self.value(more, depth - 1) for _ in range(2)}
        if luck < 0.8 and depth:
            return [self.value(more, depth - 1), self.value(more, depth - 1)]
        return values.value(rng, 2)

    def arguments(self, more: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            self.rng.choice(["x", "items", "n", "self", "class"]): self.value(more)
            for _ in range(self.rng.choice([0, 1, 2]))
        }

    def work(self, more: tuple[str, ...] = ()) -> dict[str, Any]:
        """A node's type and configuration."""
        rng = self.rng
        if rng.random() < 0.2:
            return {"type": "subworkflow", "config": {"workflow": "child", "inputs": {"n": self.value(more)}}}
        kind = rng.choice(["function", "function", "tool"])
        return {"type": kind, "config": {f"{kind}_name": "f", "inputs": self.arguments(more)}}

    def node(self, name: str) -> dict[str, Any]:
        rng = self.rng
        kind = rng.choice(["work", "work", "work", "map", "loop", "wait", "signal", "approval", "parallel"])
        policy: dict[str, Any] = {
            "on_failure": rng.choice(["fail", "continue", "continue"]),
            "retry": {"max_attempts": rng.choice([1, 1, 2]), "initial_ms": rng.choice([0, 10])},
        }
        found: dict[str, Any] = {"id": name, "policy": policy}
        if kind == "work":
            found |= self.work()
        elif kind == "parallel":
            found |= {
                "type": "function",
                "config": {**WORK, "parallel": True, "inputs": {"x": self.value(), **self.arguments()}},
            }
        elif kind == "map":
            over = rng.choice([[values.value(rng, 1)], self.template(), [1, {"x": None}], "{{ [1, none, {'x': 2}] }}"])
            item = rng.choice(
                ["item", "page", "each", "pop", "none"] if rng.random() < 0.1 else ["item", "page", "pop"]
            )
            more = tuple(word for word in (item, "index") if word != "none")
            found |= {"type": "map", "config": {"over": over, "item": item, "body": self.work(more),
                                                "on_item_failure": rng.choice(["fail", "continue"])}}  # fmt: skip
        elif kind == "loop":
            more = ("iteration", "previous")
            until = rng.choice(["iteration >= 2", expressions.condition(rng, self.names(more))])
            found |= {"type": "loop", "config": {"body": self.work(more), "until": until, "max_iterations": 2,
                                                 "on_max": rng.choice(["complete", "fail"])}}  # fmt: skip
        elif kind == "wait":
            found |= {"type": "wait", "config": {"duration": rng.choice(["5ms", self.template(), 3])}}
        elif kind == "signal":
            found |= {"type": "signal", "config": {"signal": "s", "timeout_ms": 500, "on_timeout": "continue"}}
        else:
            message = rng.choice(["ok?", self.template()])
            found |= {"type": "approval", "config": {"message": message, "expires_ms": 800, "on_expire": "approve"}}
        return self.more(found)

    def template(self) -> str:
        return expressions.template(self.rng, self.names())

    def more(self, node: dict[str, Any]) -> dict[str, Any]:
        """What any node may have beside its work."""
        rng = self.rng
        if self.earlier and rng.random() < 0.2:
            node["condition"] = expressions.condition(rng, self.names())
        if node["type"] in {"function", "tool", "map"} and rng.random() < 0.4:
            inputs = {"x": self.value(("output",))} if rng.random() < 0.5 else {}
            node["compensate_with"] = {"type": "function", "config": {"function_name": "undo", "inputs": inputs}}
        if node["type"] == "function" and rng.random() < 0.05:
            node["lane"] = self.lane
        return node


def definition(rng: random.Random) -> dict[str, Any]:
    maker = Maker(rng)
    nodes: list[dict[str, Any]] = []
    names = rng.sample(IDS, rng.choice([1, 2, 3, 3, 4, 5]))
    if maker.bad:
        names[rng.randrange(len(names))] = rng.choice(BAD_IDS)
    for name in names:
        nodes.append(maker.node(name))
        maker.earlier.append(name)
    edges = [
        {"from": source, "to": target}
        | ({"condition": expressions.condition(rng, maker.names())} if rng.random() < 0.2 else {})
        for number, target in enumerate(names)
        for source in names[:number]
        if rng.random() < 0.4
    ]
    if len(names) > 1 and rng.random() < 0.15:
        asked = rng.choice([f"{names[-1]}.status == 'completed'", expressions.condition(rng, maker.names())])
        edges.append({"from": names[-1], "to": names[0], "condition": asked, "max_iterations": 2})
    found: dict[str, Any] = {"name": "w", "dag": {"nodes": nodes, "edges": edges}}
    found["inputs"] = {name: {"type": "any", "required": False} for name in maker.inputs}
    if rng.random() < 0.3:
        found["outputs"] = {values.key(rng): maker.value() for _ in range(2)}
    if rng.random() < 0.15:
        return graph(rng, found, maker)
    return found


def graph(rng: random.Random, found: dict[str, Any], maker: Maker) -> dict[str, Any]:
    """The same nodes in supersteps with a shared state."""
    nodes = found["dag"]["nodes"]
    names = [node["id"] for node in nodes]
    keys = ["items", "x", "n", "get"]
    for node in nodes:
        if rng.random() < 0.8:
            node["writes"] = rng.choice([rng.choice(keys), {"x": "output.x", "items": "output"}])
        if rng.random() < 0.3 and "inputs" in node.get("config", {}):
            node["config"]["inputs"]["s"] = expressions.template(rng, [*maker.names(), "state", "state.items"])
    edges = [{"from": a, "to": b} for a, b in zip(names, [*names[1:], "END"], strict=True)]
    for edge in edges:
        if rng.random() < 0.3:
            edge["condition"] = expressions.condition(rng, [*maker.names(), "state.x", "state.items"])
    if rng.random() < 0.5 and len(names) > 1:
        back = {"from": names[-1], "to": names[0], "max_iterations": 2}
        edges.append(back | {"condition": expressions.condition(rng, ["state.x", "state.n"])})
    reducers = {
        key: rng.choice(["replace", "append", "merge", "sum", "max", "union", "extend"]) for key in rng.sample(keys, 2)
    }
    state = {
        "reducers": reducers,
        "initial": {"n": 0} | ({"items": values.value(rng, 1)} if rng.random() < 0.5 else {}),
    }
    return {**found, "dag": {"nodes": nodes, "edges": edges},
            "graph": {"entry_point": names[0], "state": state, "max_supersteps": 12}}  # fmt: skip
