"""The models that definitions pin. One without a known price is refused, as each of its calls would be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from agentflow_common import rpc
from agentflow_common.definition.model import Definition
from agentflow_common.errors import Problem, RetryableError
from agentflow_common.places import Place
from agentflow_gateway.api.call import Call
from agentflow_gateway.definitions import unknown_names

log = logging.getLogger(__name__)
KNOWN_S: Final = 600.0  # how long a model that has a price is not asked about again
ASKED_MAX: Final = 1_000  # models of one question to the cost service
_REMEMBERED_MAX: Final = 4_096


def used(definition: Definition) -> dict[str, Place]:
    """Returns each model that a call of the definition pins, with the place of its first use."""
    found: dict[str, Place] = {}
    for number, work in definition.works():
        if work.type != "llm":
            continue
        here: Place = ("dag", "nodes", number)
        if work.config.model:
            found.setdefault(work.config.model, (*here, *work.path, "model"))
        elif pinned := definition.dag.nodes[number].policy.model:
            found.setdefault(pinned, (*here, "policy", "model"))
    return found


async def problems(call: Call, places: Mapping[str, str]) -> tuple[Problem, ...]:
    """Returns a problem for each model whose price is not known. places: for each model, its place in the definition.

    Nothing is a problem while the cost service is away: it refuses the calls of such a model later.
    """
    known, now = call.deps.known_models, time.monotonic()
    asked = tuple(model for model in places if known.get(model, 0.0) < now)[:ASKED_MAX]
    if not asked:
        return ()
    try:
        reply = await call.ask(rpc.COST_CHECK_MODELS, rpc.CheckModelsRequest(models=asked))
    except RetryableError as error:
        log.warning("models are not checked: %s", error.kind)
        return ()
    near = {item.model: item.near for item in reply.unknown}
    if len(known) + len(asked) > _REMEMBERED_MAX:
        known.clear()
    known.update((model, now + KNOWN_S) for model in asked if model not in near)
    return unknown_names.missing_models({model: places[model] for model in asked if model in near}, near)
