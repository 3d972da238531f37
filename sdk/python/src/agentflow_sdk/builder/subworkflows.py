"""The methods that set something of a subworkflow: of the node that was added last, or of its body."""

from __future__ import annotations

from typing import Any, Self

from agentflow_sdk.builder.checks import given
from agentflow_sdk.builder.modifiers import Modifiers


class SubworkflowModifiers(Modifiers):
    """The methods that apply to a subworkflow, or to a map or loop of subworkflows."""

    def detached(self) -> Self:
        """Lets a subworkflow go on by itself (`detached: true`). The step completes as soon as its run is started.

        Returns:
            The builder.
        """
        self._subworkflow("detached")["detached"] = True
        return self

    def in_run_lane(
        self, key: str, *, limit: int | None = None, rate: str | None = None, policy: str | None = None
    ) -> Self:
        """Lets the run of a subworkflow take a slot of a run lane, beside the one of its own definition.

        Args:
            key: The name of the lane, for example the template `{{customer}}`. Runs with the same key share it.
            limit: The most runs of one key at a time; None for one.
            rate: The most runs of one key that may begin in a time: `10/s`, `100/m`. None for no bound.
            policy: What follows if no slot is free: `queue` (default), `skip`, `cancel_running`, `cancel_newest` or
                `newest_waits`.

        Returns:
            The builder.
        """
        lane = {"key": key, **given(limit=limit, rate=rate, policy=policy)}
        self._subworkflow("in_run_lane")["run_lane"] = lane
        return self

    def _subworkflow(self, what: str) -> dict[str, Any]:
        config = self._config(what)
        found: dict[str, Any] = config.get("body", {"config": config})["config"]
        return found
