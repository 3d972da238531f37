"""Values that clients give to a run that goes on, as events contain them."""

from __future__ import annotations

from typing import Any

import msgspec

from agentflow_common.events import Payload
from agentflow_gateway import limits
from agentflow_gateway.api.call import Call


async def payload_of(call: Call, run_id: str, value: Any, place: str, purpose: str = "input") -> Payload:
    """Returns a client's value as events contain it. InvalidError if it is too large or uses the engine's own key."""
    encoded = msgspec.json.encode(value)
    limits.check_size(len(encoded), call.deps.settings.inputs_bytes_max, place)
    limits.check_reserved(encoded, value, place)
    return await call.deps.blobs.pack(await call.protect(run_id, value, purpose), place)
