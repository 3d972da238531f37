"""One case: a definition, its inputs and what its steps give, through the engine's own code from door to end."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import msgspec
import yaml

from affuzz import definitions, prompts, values
from agentflow.v1 import workflow_pb2
from agentflow_common import events as ev
from agentflow_common import ids
from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_dict, parse_text
from agentflow_common.errors import InvalidError, RetryableError, TerminalError
from agentflow_common.events import BlobRef, Payload, SeedPosition, StepError
from agentflow_common.expressions import language as expressions
from agentflow_common.log.blobs import INLINE_BYTES_MAX, PAYLOAD_BYTES_MAX, in_line
from agentflow_common.runs.fold import RunFold
from agentflow_common.runs.state import UNDO, holds_marker, is_marker, marked_ref
from agentflow_common.subjects import EntityKey
from agentflow_gateway.api import convert
from agentflow_sdk.convert import json_values as sdk
from agentflow_sdk.errors import AgentFlowError as SdkError
from agentflow_worker import machine as worker
from agentflow_worker.context import StepContext
from agentflow_worker.invoke import invoke
from agentflow_worker.registry import Registration, Registry, function
from agentflow_worker.settings import WorkerSettings
from tests.property.entities_world import World

ENGINES_OWN: Final = frozenset({"max_supersteps", "idle_chain", "deadline"})  # what a run fails of without a step
_now: dict[str, Any] = {}  # what the step gives that is called next


@function(name="f")
async def _step(**_given: Any) -> Any:
    if isinstance(raised := _now["gives"], BaseException):
        raise raised
    return raised


def _registered() -> Registration:
    return Registry().add(_step)


_F: Final = _registered()
_PYTHON: Final = (
    " at 0x",
    "<bound method",
    "<built-in",
    "<generator",
    "Undefined]",
    "dict_items",
    "<class",
    "TemplateReference",
)
_SETTINGS: Final = WorkerSettings(nats_url="nats://127.0.0.1:1")
_CHILD: Final = parse_dict(definitions.CHILD).canonical()


def show_no_python(value: Any, where: str) -> None:
    """Python's own way to write an object must not come out of an expression."""
    if isinstance(value, str):
        if any(sign in value for sign in _PYTHON):
            raise AssertionError(f"{where} shows Python: {value[:200]!r}")
    elif isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            show_no_python(item, where)


class Refused(Exception):
    """The case ends at the door, as it has to."""


class FuzzWorld(World):
    """The world of the property tests with odd values. Each event goes through its bytes."""

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop) -> None:
        self.rng = random.Random(seed)
        self.loop = loop
        self.checked = self._registered()
        self.inputs = self._given()
        super().__init__(self.checked.canonical(), seed, crashes=self.rng.random() < 0.3)

    # --- doors ---

    def _registered(self) -> Definition:
        """The definition by one of its doors. Raises Refused for one that is refused as it should be."""
        data = definitions.definition(self.rng)
        luck = self.rng.random()
        try:
            if luck < 0.5:
                return parse_text(json.dumps(data, ensure_ascii=self.rng.random() < 0.7, allow_nan=False))
            if luck < 0.6:
                return parse_text(yaml.safe_dump(data, allow_unicode=True))
            return parse_dict(data)
        except InvalidError as error:
            if not error.problems or not all(problem.place for problem in error.problems):
                raise AssertionError(f"refused without a place: {error}") from error
            "".join(map(str, error.problems)).encode()
            raise Refused(str(error)) from None

    def _given(self) -> dict[str, Any]:
        """The inputs as the gateway has them from an SDK."""
        raw = {name: values.value(self.rng, 2) for name in self.checked.inputs if self.rng.random() < 0.8}
        try:
            sent = sdk.to_struct(raw, "inputs").SerializeToString()
        except SdkError as error:
            if not error.problems[0].place.startswith("inputs"):
                raise AssertionError(f"refused without a place: {error}") from error
            raw = dict.fromkeys(raw, 1)
            sent = sdk.to_struct(raw, "inputs").SerializeToString()
        request = workflow_pb2.SubmitWorkflowRequest()
        request.inputs.ParseFromString(sent)
        return self.checked.check_inputs(convert.from_struct(request.inputs, "inputs"))

    def submission(self, kept: tuple[Payload, SeedPosition | None]) -> ev.RunSubmitted:
        return ev.RunSubmitted(
            org="o", run="run_1", ts=self.now, workflow="w", version=1, definition=self.checked.canonical(),
            inputs=Payload(value=self.inputs), definitions={"child": _CHILD},
        )  # fmt: skip

    # --- the log ---

    def append(self, key: EntityKey, event: Any) -> int:
        return super().append(key, ev.decode(ev.encode(event)))

    def fact(self, key: EntityKey, event: Any) -> None:
        seq = self.append(key, event)
        self.unseen.setdefault(key, []).append((seq, self.logs[key][-1][1]))

    def take(self, key: EntityKey, decision: ev.Decision) -> None:
        read: Any = self.logs[key][-1][1]
        super().take(key, read)
        del decision

    def check_memory(self, key: EntityKey) -> None:
        if self.random.random() < 0.15:
            super().check_memory(key)

    # --- workers ---

    def report(self, key: EntityKey, task: ev.StepScheduled) -> ev.Event:
        names: dict[str, Any] = {"org": "o", "run": key.name, "ts": self.now}
        names |= {"step": task.step, "attempt": task.attempt}
        if self.rng.random() < 0.03:
            return ev.StepOutcomeUnknown(**names)
        try:
            output = self._run(task)
            payload = in_line(output) or self._store(output)
        except Exception as error:
            return ev.StepFailed(**names, error=worker.to_step_error(error))
        return ev.StepCompleted(**names, output=payload)

    def _run(self, task: ev.StepScheduled) -> Any:
        """What the executor does with a task."""
        _now["gives"] = self._gives(task)
        inputs = {name: self._resolve(value) for name, value in task.inputs.items()}
        if task.config.get("state_args"):
            inputs = {"state": inputs.pop("state", None), **inputs}
        context = StepContext("o", task.run, task.step, task.attempt, _SETTINGS)
        output = self.loop.run_until_complete(invoke(_F, inputs, context))
        if holds_marker(output):
            raise InvalidError("an output may not hold the reserved key `$blob`", kind="reserved_key")
        return output

    def _gives(self, task: ev.StepScheduled) -> Any:
        rng, luck = self.rng, self.rng.random()
        if task.step.endswith(UNDO):
            return ValueError(values.text(rng, lone=True)) if luck < 0.05 else None
        if luck < 0.06:
            return TerminalError(values.text(rng, lone=True), kind=rng.choice(["odd", "undecidable", "k\ud800", ""]))
        if luck < 0.1:
            return rng.choice([ValueError, KeyError, RecursionError, SystemExit, StopIteration])(
                values.text(rng, lone=True)
            )
        if luck < 0.13:
            return RetryableError(values.text(rng, lone=True), kind="later")
        return values.value(rng, 3, odd=True)

    def _resolve(self, value: Any) -> Any:
        if is_marker(value):
            whole = self.stored[marked_ref(value).sha256]
            return self._resolve(expressions.walk(whole, tuple(value["path"]), "input"))
        if isinstance(value, dict):
            return {name: self._resolve(item) for name, item in value.items()}
        return [self._resolve(item) for item in value] if isinstance(value, list) else value

    def _store(self, value: Any) -> Payload:
        data = msgspec.json.encode(value)
        assert len(data) > INLINE_BYTES_MAX
        if len(data) > PAYLOAD_BYTES_MAX:
            raise InvalidError("the output is too large", kind="payload_too_large")
        sha = ids.digest(data)
        self.stored[sha] = msgspec.json.decode(data)
        return Payload(ref=BlobRef(sha, len(data)))

    # --- what must hold ---

    def end(self) -> None:
        """Plays to the end of all runs, a cancel now and then, and checks what must hold."""
        self.play(self.rng.randrange(3, 30) if self.rng.random() < 0.05 else -1, -1)
        self.check()

    def check(self) -> None:
        super().check()
        for key, log in self.logs.items():
            if key.name.startswith("run"):
                self._check_end(key, log)

    def _check_end(self, key: EntityKey, log: list[tuple[int, ev.Event]]) -> None:
        end = next(event for _, event in log if isinstance(event, ev.TERMINAL_RUN))
        if isinstance(end, ev.RunFailed):
            _check_named(key, end)
        for _, event in log:
            if isinstance(event, ev.StepScheduled):
                show_no_python(event.inputs, f"{key.name} {event.step}")
            if isinstance(event, ev.StepUndecidable):
                show_no_python(event.error.message, f"{key.name} {event.step}")
                assert event.error.message.startswith(f"{event.step}: "), event
                assert len(event.error.message) > len(event.step) + 10, event
        again = RunFold()
        for seq, event in log:
            again.add(event, seq)
        state = again.finish()
        assert state is not None
        shown = workflow_pb2.WatchRunResponse(event=workflow_pb2.RunEvent())
        convert.set_struct(shown.event.body, msgspec.to_builtins(end))
        sdk.from_struct(workflow_pb2.WatchRunResponse.FromString(shown.SerializeToString()).event.body)


def _check_named(key: EntityKey, end: ev.RunFailed) -> None:
    error: StepError = end.error
    assert error.type != "engine_error", f"{key.name}: {error.message}"
    assert error.message or error.type != "undecidable", f"{key.name} does not say why it failed: {end}"
    named = bool(end.step) or error.type in ENGINES_OWN or error.message.startswith("outputs")
    assert named, f"{key.name} failed, and no step is named: {end}"
    assert " at 0x" not in error.message, error.message


def play(seed: int, loop: asyncio.AbstractEventLoop) -> str:
    """Plays a case: `refused`, `completed`, `failed` or `cancelled`. Raises whatever shows a fault."""
    rng = random.Random(f"prompt {seed}")
    if rng.random() < 0.3:
        show_no_python(prompts.play(rng), "a prompt")
    try:
        world = FuzzWorld(seed, loop)
    except Refused:
        return "refused"
    world.end()
    end = next(event for _, event in world.logs[world.key] if isinstance(event, ev.TERMINAL_RUN))
    return ev.event_type(end).removeprefix("run.")


__all__ = ["FuzzWorld", "Refused", "play"]
