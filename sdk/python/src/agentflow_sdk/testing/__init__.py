"""An AgentFlow server for tests of code that uses the SDK: real gRPC on a free port, everything in memory.

    with FakeAgentFlow() as server, Client(server.endpoint, server.token) as client:
        server.outputs["fetch"] = {"title": "hello"}  # what a step gives; an exception is what it fails of
        run = client.workflows.submit("name: demo\\nversion: 1\\n...", {"x": 1})
        client.workflows.approve(run, "release")
        server.skip(3 * 86_400)  # three days later

Steps complete at once, in the order of the definition's edges, except for those that wait for somebody: a `signal`
waits for its signal, an `approval` for its answers, both until `skip` has come to the end of their time. A `wait` lets
the fake's time pass by itself (not with `skip_time=False`). Pause, resume, cancel, fork, retry, batches and `why` do
what they say. The run's output is its inputs; where `outputs` says what steps give, it is what the definition's
`outputs` refer to.

It checks keys, orgs and idempotency, not definitions; conditions, retries and back edges it leaves out, a map or a
loop is one step. `fail_next(...)` makes the next calls of a method fail; `drop_watch_after` cuts streams in order to
exercise reconnects; `calls` counts what arrived.
"""

from agentflow_sdk.testing.details import status_details
from agentflow_sdk.testing.server import FakeAgentFlow

__all__ = ["FakeAgentFlow", "status_details"]
