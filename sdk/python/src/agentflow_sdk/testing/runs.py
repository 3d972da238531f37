"""A run of the fake: its steps, what they wait for, and its events."""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

from agentflow.v1 import workflow_pb2 as pb
from agentflow_sdk.convert.json_values import from_value, to_struct, to_value
from agentflow_sdk.testing.definitions import leads, on_failure, sources, until

FINAL: Final = (pb.RUN_STATUS_COMPLETED, pb.RUN_STATUS_FAILED, pb.RUN_STATUS_CANCELLED)
_REFERENCE: Final = re.compile(r"([A-Za-z_][\w-]*)\.output((?:\.\w+|\[\d+\])*)\Z")


class World(Protocol):
    """The part of the server that a run needs. `FakeAgentFlow` explains the attributes."""

    outputs: dict[str, Any]
    skip_time: bool

    @property
    def now_ms(self) -> int: ...
    def pass_until(self, ms: int) -> None: ...


class FakeRun:
    """A run of the fake, which goes on by itself whenever something changes.

    Args:
        message: The run as `GetRun` returns it.
        definition: Its definition as plain data.
        world: The server.
        kept: The steps that keep their results from another run, by id.
        is_held: True if its workflow is paused.

    Attributes:
        message: The run as `GetRun` returns it.
        definition: Its definition as plain data.
        events: Its events and tokens as messages of a watch.
        signals: The payloads of signals that no step has taken yet, by name.
        signal_ids: The ids of the signals that it has received.
        answers: The answers to approvals, by step and person.
        is_held: True while its workflow is paused.
        nodes: The nodes of its definition, by id.
        sources: The nodes that each node waits for.
        steps: The steps that have begun, by id.
    """

    def __init__(
        self, message: Any, definition: dict[str, Any], world: World, kept: dict[str, Any], is_held: bool = False
    ) -> None:
        self.message = message
        self.definition = definition
        self.events: list[Any] = []
        self.signals: dict[str, list[Any]] = {}
        self.signal_ids: set[str] = set()
        self.answers: dict[str, dict[str, str]] = {}
        self.is_held = is_held
        self._paused = False
        self._passed: set[str] = set()  # steps that may begin in spite of a breakpoint
        self._stop_before = ""  # a step before which it stops once
        self._world = world
        nodes = (definition.get("dag") or {}).get("nodes") or [{"id": "only", "type": "tool"}]
        self.nodes: dict[str, dict[str, Any]] = {str(node["id"]): node for node in nodes}
        self.sources = sources(definition, self.nodes)
        self.steps: dict[str, Any] = {}
        self._event("run.submitted", workflow=message.workflow, version=message.version, definition=definition)
        self._event("run.started", workflow=message.workflow, version=message.version)
        for name in self.nodes:
            if name in kept:
                self.steps[name] = message.steps.add()
                self.steps[name].CopyFrom(kept[name])
                self.steps[name].seeded = True
        self.go_on()

    # --- requests of clients ---

    @property
    def is_over(self) -> bool:
        return self.message.status in FINAL

    def pause(self, reason: str, until: int = 0) -> None:
        if self.is_over:
            return
        self.message.paused_until = until
        if not self._paused:
            self._paused = True
            self.message.status = pb.RUN_STATUS_PAUSED
            self.message.paused_reason = reason
            self._event("run.paused", reason=reason, until=until)

    def resume(self) -> None:
        if self._paused and not self.is_over:
            self._paused = False
            self.message.paused_reason = ""
            self.message.paused_until = 0
            self.message.status = pb.RUN_STATUS_RUNNING
            self._event("run.resumed")
            self.go_on()

    def go_on_from_stop(self, step_by_step: bool, to: str) -> list[str]:
        """Ends a stop before breakpoints, and returns the steps before which it was."""
        steps = list(self.message.stopped_before)
        self._passed.update(steps)
        self._stop_before, self.message.step_by_step = to, step_by_step
        self.message.stopped_before[:] = []
        self.message.status = pb.RUN_STATUS_PAUSED if self._paused else pb.RUN_STATUS_RUNNING
        self._event("run.resumed")
        self.go_on()
        return steps

    def cancel(self, reason: str) -> None:
        if not self.is_over:
            for name, step in self.steps.items():
                if step.status == pb.STEP_STATUS_WAITING:
                    self._close(name, pb.STEP_STATUS_CANCELLED, "step.cancelled", reason=reason)
            self.message.cancel_reason = reason
            self._end(pb.RUN_STATUS_CANCELLED, "run.cancelled", reason=reason)

    def signal(self, name: str, payload: Any) -> None:
        self.signals.setdefault(name, []).append(payload)
        self.go_on()

    def answer(self, step: str, by: str, decision: str) -> None:
        self.answers.setdefault(step, {})[by] = decision
        self.go_on()

    def waiting(self, kind: str = "") -> dict[str, Any]:
        """Returns the steps that wait for this kind of thing; an empty kind stands for any."""
        return {
            name: step for name, step in self.steps.items()
            if step.status == pb.STEP_STATUS_WAITING and kind in ("", step.waiting_for)
        }  # fmt: skip

    def after(self, name: str) -> set[str]:
        """Returns a step and all steps that come after it."""
        return {other for other in self.nodes if other == name or leads(self.sources, name, other)}

    # --- what follows from them ---

    def go_on(self) -> None:
        """Does everything that can happen now."""
        if 0 < self.message.paused_until <= self._world.now_ms:
            self.resume()
        while not (self.is_over or self._paused or self.is_held) and not self._is_stopped() and self._move():
            pass
        if self.is_over or self._paused or self.message.stopped_before:
            return
        self.message.waiting_steps[:] = list(self.waiting())
        status = pb.RUN_STATUS_WAITING if self.waiting() else pb.RUN_STATUS_RUNNING
        if self.message.status != status:
            self.message.status = status
            if status == pb.RUN_STATUS_WAITING:
                self._event("run.waiting", steps=list(self.waiting()))

    def _move(self) -> bool:
        """Makes one change. Returns False if nothing is left to do now."""
        for name, node in self.nodes.items():
            step = self.steps.get(name)
            if step is None and all(self._is_decided(source) for source in self.sources[name]):
                self._begin(name, node)
                return True
            if step is not None and step.status == pb.STEP_STATUS_WAITING and self._end_wait(name, node, step):
                return True
        if all(self._is_decided(name) for name in self.nodes):
            self._complete()
            return True
        waits = [step.waiting_until for step in self.waiting("wait").values()]
        if waits and self._world.skip_time:
            self._world.pass_until(min(waits))
            return True
        return False

    def _is_stopped(self) -> bool:
        """True if the run is stopped before breakpoints. Stops it if it has come to some."""
        message = self.message
        if message.stopped_before:
            return True
        due = (name for name in self.nodes if name not in self.steps and all(map(self._is_decided, self.sources[name])))
        named = {*message.break_at, self._stop_before}
        message.stopped_before[:] = [
            name for name in due if name not in self._passed and (message.step_by_step or name in named)
        ]
        if message.stopped_before:
            self._stop_before, message.status = "", pb.RUN_STATUS_PAUSED
            self._event("run.stopped", steps=list(message.stopped_before))
        return bool(message.stopped_before)

    def _is_decided(self, name: str) -> bool:
        step = self.steps.get(name)
        return step is not None and step.status not in (pb.STEP_STATUS_WAITING, pb.STEP_STATUS_RUNNING)

    def is_settled(self, name: str) -> bool:
        """True if a step has completed, or if it has failed and the run goes on without it."""
        status = self.steps[name].status
        goes_on = status == pb.STEP_STATUS_FAILED and on_failure(self.nodes[name]) == "continue"
        return goes_on or status in (pb.STEP_STATUS_COMPLETED, pb.STEP_STATUS_SKIPPED)

    def _begin(self, name: str, node: dict[str, Any]) -> None:
        kind = str(node.get("type", "tool"))
        now = self._world.now_ms
        status = pb.STEP_STATUS_RUNNING
        step = self.message.steps.add(step=name, type=kind, attempt=1, started_at=now, status=status)
        self.steps[name] = step
        if kind in ("wait", "signal", "approval") and name not in self._world.outputs:
            config = node.get("config") or {}
            step.status, step.waiting_for = pb.STEP_STATUS_WAITING, kind
            step.waiting_until = until(kind, config, now)
            names = ("signal",) if kind == "signal" else ("message", "approvers", "required")
            step.waiting_detail.CopyFrom(to_struct({n: config[n] for n in names if n in config}, "detail"))
            self._event("step.waiting", name, 1, kind=kind, until=step.waiting_until)
            return
        self._event("step.scheduled", name, 1, kind=kind)
        if kind == "llm":
            for offset, text in ((0, "Hel"), (3, "lo")):
                token = pb.TokenChunk(step=name, attempt=1, offset=offset, text=text)
                self.events.append(pb.WatchRunResponse(token=token))
        given = self._world.outputs.get(name)
        if callable(given) and not isinstance(given, type):
            try:
                given = given(from_value(self.message.inputs))
            except Exception as error:
                given = error
        if isinstance(given, BaseException):
            self._fail(name, node, type(given).__name__, str(given))
        else:
            self._done(name, given, 5)

    def _end_wait(self, name: str, node: dict[str, Any], step: Any) -> bool:
        """Ends the wait of a step if it may end. Returns True if it did."""
        config = node.get("config") or {}
        late = bool(0 < step.waiting_until <= self._world.now_ms)
        if step.waiting_for == "wait":
            if late:
                self._done(name, {"until": step.waiting_until})
            return late
        if step.waiting_for == "signal":
            kept = self.signals.get(str(config.get("signal")))
            if kept:
                self._done(name, kept.pop(0))
            elif late and config.get("on_timeout") == "continue":
                self._done(name, None)
            elif late:
                self._fail(name, node, "signal_timeout", f"the signal {config.get('signal')!r} did not come in time")
            return bool(kept) or late or name not in self.waiting()
        return self._end_approval(name, node, config, late)

    def _end_approval(self, name: str, node: dict[str, Any], config: dict[str, Any], late: bool) -> bool:
        given = self.answers.get(name, {})
        expired = str(config.get("on_expire", "fail")) if late else ""
        approvals = list(given.values()).count("approve")
        approved = approvals >= int(config.get("required", 1)) or expired == "approve"
        rejected = "reject" in given.values() or (expired == "reject" and not approved)
        if not (approved or rejected or expired):
            return False
        if rejected and config.get("on_reject", "fail") == "fail":
            self._fail(name, node, "rejected", "it was rejected")
        elif expired == "fail" and not approved and not rejected:
            self._fail(name, node, "approval_expired", "too few approvals came in time")
        else:
            decisions = [{"by": by, "decision": decision} for by, decision in given.items()]
            self._done(name, {"approved": approved and not rejected, "decisions": decisions})
        return True

    def _done(self, name: str, output: Any, duration_ms: int = 0) -> None:
        self.steps[name].output.CopyFrom(to_value(output, f"outputs.{name}"))
        self.steps[name].finished_at = self._world.now_ms + duration_ms
        self._close(name, pb.STEP_STATUS_COMPLETED, "step.completed", duration_ms=duration_ms)

    def _fail(self, name: str, node: dict[str, Any], kind: str, message: str) -> None:
        error = pb.ErrorInfo(type=kind, message=message)
        self.steps[name].error.CopyFrom(error)
        self._close(name, pb.STEP_STATUS_FAILED, "step.failed", error={"type": kind, "message": message})
        if on_failure(node) == "fail":
            self.message.error.CopyFrom(error)
            self._end(pb.RUN_STATUS_FAILED, "run.failed", error={"type": kind, "message": message}, step=name)

    def _close(self, name: str, status: Any, event: str, **body: Any) -> None:
        step = self.steps[name]
        step.status, step.waiting_for = status, ""
        step.finished_at = step.finished_at or self._world.now_ms
        self._event(event, name, 1, **body)

    def _complete(self) -> None:
        message = self.message
        if from_value(message.inputs).get("fail") is True:
            message.error.CopyFrom(pb.ErrorInfo(type="boom", message="it was asked to fail"))
            self._end(pb.RUN_STATUS_FAILED, "run.failed", error={"message": message.error.message})
            return
        wanted = self.definition.get("outputs")
        if wanted and set(self.nodes) & set(self._world.outputs):
            found = {name: self._referred(text) for name, text in wanted.items()}
            message.output.CopyFrom(to_value(found, "outputs"))
        else:
            message.output.CopyFrom(message.inputs)
        self._end(pb.RUN_STATUS_COMPLETED, "run.completed")

    def _referred(self, text: Any) -> Any:
        """Returns the value of `step.output.field[0]`. Any other value stands for itself."""
        match = _REFERENCE.match(text) if isinstance(text, str) else None
        if match is None or match[1] not in self.steps:
            return text
        value = from_value(self.steps[match[1]].output)
        for field, index in re.findall(r"\.(\w+)|\[(\d+)\]", match[2]):
            if isinstance(value, dict):
                value = value.get(field)
            elif isinstance(value, list) and index and int(index) < len(value):
                value = value[int(index)]
            else:
                return None
        return value

    def _end(self, status: Any, event: str, **body: Any) -> None:
        message = self.message
        message.status = status
        message.waiting_steps[:] = []
        message.finished_at = max(self._world.now_ms, message.submitted_at) + 20
        message.cost_nano_usd = 1_200_000
        self._event(event, **body)

    def _event(self, event_type: str, step: str = "", attempt: int = 0, **body: Any) -> None:
        message = self.message
        event = pb.RunEvent(
            sequence=10 + len(self.events) * 3,
            type=event_type,
            ts=self._world.now_ms,
            step=step,
            attempt=attempt,
            body=to_struct({"type": event_type, **body}, "body"),
            status=message.status,
            cost_nano_usd=message.cost_nano_usd,
            steps_total=len(self.nodes),
            steps_done=sum(item.status != pb.STEP_STATUS_WAITING for item in self.steps.values()),
        )
        message.last_sequence = event.sequence
        self.events.append(pb.WatchRunResponse(event=event))
