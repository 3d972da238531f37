"""Pairs of runs with planted differences, played by the scheduler's own machine, and the truth about each pair."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentflow_common import events as ev
from agentflow_common.events import StepError
from agentflow_trace.diff.records import RunRecord, read
from tests.support.run_driver import RunDriver
from tests.support.trace_rows import rows_of

Truth = set[tuple[str, str, str]]  # (change, the step in a, the step in b); an empty step: it is not there
FUNCTIONS = ("parse", "rank", "store")  # few, so that names of functions alone do not tell nodes apart
BUSY = StepError("busy", "later")


@dataclass
class Behaviour:
    """How the worker answers a node, whatever its name."""

    duration_ms: int
    output: Any
    cost_nano: int = 0
    model: str = ""
    failures: int = 0


@dataclass
class World:
    """A workflow and how its workers behave. `ident` of a node does not change when its name does."""

    nodes: dict[str, dict[str, Any]]  # by ident; `waits` has idents
    behaviours: dict[str, Behaviour]
    names: dict[str, str]
    items: list[str]
    rounds: dict[str, int]  # iterations of loops, by ident
    skipped: str = ""

    def definition(self) -> dict[str, Any]:
        nodes = []
        for ident, node in self.nodes.items():
            made = {key: value for key, value in copy.deepcopy(node).items() if key not in {"waits", "reads"}}
            made["id"] = self.names[ident]
            made["depends_on"] = [self.names[other] for other in node["waits"]]
            inputs = made["config"].get("inputs", {})
            for number, other in enumerate(node["reads"]):
                inputs[f"read_{number}"] = f"{self.names[other]}.output.value"
            made["policy"] = {"retry": {"max_attempts": 3}}
            nodes.append(made)
        outputs = {"done": "yes"}
        return {"name": "planted", "version": 1, "outputs": outputs, "dag": {"nodes": nodes}}

    def play(self, run: str) -> RunRecord:
        """Plays the run with its own clock and returns its record."""
        return read(run, rows_of(self.log(run)))

    def log(self, run: str, **fields: Any) -> list[tuple[int, ev.Event]]:
        """Plays the run with its own clock and returns its log."""
        driver = RunDriver(self.definition())
        inputs = {"items": self.items, "skip": self.skipped}
        driver.submit(inputs, run=run, **fields)
        idents = {name: ident for ident, name in self.names.items()}
        ends: dict[tuple[str, int], tuple[int, int]] = {}
        while not driver.status.terminal:
            tasks = {(task.step, task.attempt): task for task in driver.open_tasks()}
            for key, task in tasks.items():
                ends.setdefault(key, (driver.now_ms, driver.now_ms + self.behaviour(idents, task).duration_ms))
            first = min(tasks, key=lambda key: ends[key][1], default=None)
            timers = sorted((timer.fire_at, name) for name, timer in driver.state.timers.items())
            if first is None or (timers and timers[0][0] < ends[first][1]):
                driver.fires(timers[0][1])
                continue
            driver.at(max(driver.now_ms, ends[first][1]))
            self.answer(driver, idents, tasks[first], ends[first][0])
        return driver.log

    def behaviour(self, idents: dict[str, str], task: ev.StepScheduled) -> Behaviour:
        return self.behaviours[idents[node_of(task.step)]]

    def answer(self, driver: RunDriver, idents: dict[str, str], task: ev.StepScheduled, started_at: int) -> None:
        ident = idents[node_of(task.step)]
        known = self.behaviours[ident]
        times = {"started_at": started_at, "duration_ms": float(known.duration_ms), "worker": "w"}
        usage = None
        if known.model:
            usage = ev.LlmUsage("sim", known.model, "", 10, 5, known.cost_nano)
        if task.attempt <= known.failures:
            driver.fails(task.step, BUSY, llm=usage, **times)
            return
        output = {"value": known.output}
        if "[" in task.step:
            output = {"value": f"{known.output} {task.inputs['v']}"}
        if "@" in task.step:
            output = {"value": known.output, "done": int(task.step.split("@")[1]) >= self.rounds[ident]}
        driver.completes(task.step, output, llm=usage, **times)


def node_of(key: str) -> str:
    return key.partition("[")[0].partition("@")[0]


def world(rng: random.Random) -> World:
    """Returns a random workflow: an acyclic graph of functions and model calls, a map and a loop."""
    nodes: dict[str, dict[str, Any]] = {}
    behaviours: dict[str, Behaviour] = {}
    constants = rng.sample(range(1_000), 40)
    idents = [f"n{number}" for number in range(rng.randint(6, 14))]
    for number, ident in enumerate(idents):
        earlier = idents[:number]
        waits = rng.sample(earlier, min(len(earlier), rng.choice((1, 1, 2))))
        reads = [waits.pop()] if len(waits) > 1 and rng.random() < 0.5 else []
        is_model = rng.random() < 0.4
        work: dict[str, Any] = {"inputs": {"constant": constants[number]}}
        work |= {"prompt": f"Say {constants[number]}"} if is_model else {"function_name": rng.choice(FUNCTIONS)}
        nodes[ident] = {"type": "llm" if is_model else "function", "config": work, "waits": waits, "reads": reads}
        cost = rng.randint(1, 10**9) if is_model else 0
        behaviours[ident] = Behaviour(rng.randint(1, 400), f"out {ident}", cost, "small" if is_model else "")
    body = {"type": "function", "config": {"function_name": "parse", "inputs": {"v": "{{item}}"}}}
    nodes["each"] = {"type": "map", "config": {"over": "{{items}}", "body": body}, "waits": [], "reads": []}
    behaviours["each"] = Behaviour(rng.randint(1, 50), "item")
    body = {"type": "function", "config": {"function_name": "rank", "inputs": {"n": "{{iteration}}"}}}
    nodes["again"] = {
        "type": "loop",
        "config": {"body": body, "until": "previous.done", "max_iterations": 9},
        "waits": [],
        "reads": [],
    }
    behaviours["again"] = Behaviour(rng.randint(1, 50), "round")
    for ident in idents:
        if not any(ident in (*node["waits"], *node["reads"]) for node in nodes.values()):
            nodes[ident]["condition"] = f"inputs.skip != '{ident}'"
    items = [f"item {number} {rng.randint(0, 99)}" for number in range(rng.randint(3, 8))]
    return World(nodes, behaviours, {ident: ident for ident in nodes}, items, {"again": rng.randint(1, 4)})


@dataclass
class Planting:
    """What was planted: a changed copy of a world, and the differences that a comparison must find."""

    old: World
    rng: random.Random
    new: World = field(init=False)
    truth: Truth = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    renames: dict[str, str] = field(default_factory=dict)
    slower: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new = copy.deepcopy(self.old)

    def around(self, ident: str) -> set[str]:
        """Returns the nodes whose comparison a change of this node may touch."""
        node = self.old.nodes[ident]
        following = {name for name, other in self.old.nodes.items() if ident in (*other["waits"], *other["reads"])}
        return {ident, *node["waits"], *node["reads"], *following}

    def pick(self, fits: Callable[[str], bool], *, apart: bool = True) -> str | None:
        """Returns a node that no planted difference has touched."""
        found = [ident for ident in self.old.nodes if fits(ident) and not self.around(ident) & self.touched]
        if not found:
            return None
        ident = self.rng.choice(found)
        self.touched |= self.around(ident) if apart else {ident}
        return ident

    def is_plain(self, ident: str) -> bool:
        return ident not in {"each", "again"}

    def is_loose(self, ident: str) -> bool:
        """True for a node that no other one reads, and that reads none itself."""
        read = any(ident in node["reads"] for node in self.old.nodes.values())
        return self.is_plain(ident) and not read and not self.old.nodes[ident]["reads"]

    def plant(self, what: str) -> bool:
        """Plants one difference; False if it does not fit here."""
        return bool(getattr(self, what)())

    def rename(self) -> bool:
        ident = self.pick(lambda _: True)
        if ident is None:
            return False
        self.new.names[ident] = self.renames[ident] = f"other_{self.rng.randint(0, 99)}_{ident}"
        self.truth.add(("renamed", ident, ident))
        return True

    def move(self) -> bool:
        ident = self.pick(lambda name: self.is_loose(name) and bool(self.old.nodes[name]["waits"]))
        if ident is None:
            return False
        names = list(self.old.nodes)
        earlier = [name for name in names[: names.index(ident)] if name not in self.old.nodes[ident]["waits"]]
        earlier = [name for name in earlier if name not in self.touched]
        if not earlier:
            return False
        target = self.rng.choice(earlier)
        self.touched.add(target)
        self.new.nodes[ident]["waits"][0] = target
        self.truth.add(("moved", ident, ident))
        return True

    def add(self) -> bool:
        ident = self.pick(lambda name: self.is_loose(name) and bool(self.old.nodes[name]["waits"]))
        if ident is None:
            return False
        number = self.rng.randint(2_000, 9_000)
        made = f"added_{number}"
        config = {"function_name": "audit", "inputs": {"constant": number}}
        before = list(self.new.nodes[ident]["waits"])
        self.new.nodes[made] = {"type": "function", "config": config, "waits": before, "reads": []}
        self.new.nodes[ident]["waits"] = [made]
        self.new.behaviours[made] = Behaviour(self.rng.randint(1, 99), made)
        self.new.names[made] = made
        self.truth.add(("node", "", made))
        return True

    def remove(self) -> bool:
        ident = self.pick(self.is_loose)
        if ident is None:
            return False
        waits = self.new.nodes.pop(ident)["waits"]
        del self.new.names[ident]
        for node in self.new.nodes.values():
            if ident in node["waits"]:
                node["waits"] = list(dict.fromkeys([n for w in node["waits"] for n in (waits if w == ident else [w])]))
        self.truth.add(("node", ident, ""))
        return True

    def retry(self) -> bool:
        ident = self.pick(self.is_plain, apart=False)
        if ident is None:
            return False
        self.new.behaviours[ident].failures = self.rng.randint(1, 2)
        self.truth.add(("attempts", ident, ident))
        return True

    def other_model(self) -> bool:
        ident = self.pick(lambda name: bool(self.old.behaviours[name].model), apart=False)
        if ident is None:
            return False
        self.new.behaviours[ident].model = "large"
        self.new.behaviours[ident].cost_nano += self.rng.randint(1, 10**9)
        self.truth.add(("model", ident, ident))
        return True

    def slow(self) -> bool:
        ident = self.pick(self.is_plain, apart=False)
        if ident is None:
            return False
        self.slower[ident] = self.rng.randint(1, 5_000)
        self.new.behaviours[ident].duration_ms += self.slower[ident]
        return True

    def other_output(self) -> bool:
        ident = self.pick(self.is_plain)
        if ident is None:
            return False
        self.new.behaviours[ident].output = f"other {ident}"
        self.truth.add(("output", ident, ident))
        for name, node in self.old.nodes.items():
            if ident in node["reads"]:
                self.truth.add(("inputs", name, name))
        return True

    def reorder(self) -> bool:
        if "each" in self.touched:
            return False
        self.touched.add("each")
        order = list(range(len(self.old.items)))
        self.rng.shuffle(order)
        self.new.items = [self.old.items[number] for number in order]
        self._items(order)
        return True

    def other_items(self) -> bool:
        """Takes an item out and puts one in."""
        if "each" in self.touched:
            return False
        self.touched.add("each")
        order: list[int | None] = list(range(len(self.old.items)))
        order.pop(self.rng.randrange(len(order)))
        order.insert(self.rng.randint(0, len(order)), None)
        self.new.items = ["a new one" if number is None else self.old.items[number] for number in order]
        self._items(order)
        return True

    def _items(self, order: list[Any]) -> None:
        kept = sorted(number for number in order if number is not None)
        ranks = [number for number in order if number is not None]
        for place, number in enumerate(order):
            if number is None and place not in kept:  # another item at the same place is a changed item
                key = f"each[{place}]"
                self.truth |= {("inputs", key, key), ("output", key, key)}
                kept.append(place)
            elif number is None:
                self.truth.add(("item", "", f"each[{place}]"))
            elif ranks.index(number) != sorted(ranks).index(number):
                self.truth.add(("reordered", f"each[{number}]", f"each[{place}]"))
        for number in range(len(self.old.items)):
            if number not in kept:
                self.truth.add(("item", f"each[{number}]", ""))

    def one_more_round(self) -> bool:
        if "again" in self.touched:
            return False
        self.touched.add("again")
        last = self.new.rounds["again"]
        self.new.rounds["again"] = last + 1
        self.truth |= {("iteration", "", f"again@{last + 1}"), ("output", f"again@{last}", f"again@{last}")}
        return True

    def skip(self) -> bool:
        ident = self.pick(lambda name: "condition" in self.old.nodes[name], apart=False)
        if ident is None or self.new.skipped:
            return False
        self.new.skipped = ident
        self.truth.add(("status", ident, ident))
        return True

    def expected(self) -> Truth:
        """Returns the truth with the names of both runs."""
        found: Truth = set()
        for change, old, new in self.truth:
            ident = node_of(new)
            found.add((change, old, new.replace(ident, self.renames.get(ident, ident), 1) if new else ""))
        return found


MUTATIONS = (
    "rename", "move", "add", "remove", "retry", "other_model", "slow", "other_output", "reorder", "other_items",
    "one_more_round", "skip",
)  # fmt: skip
