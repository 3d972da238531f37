"""An AgentFlow server for tests of code that uses the SDK: real gRPC on a free port, everything in memory.

    with FakeAgentFlow() as server, Client(server.endpoint, server.token) as client:
        server.outputs["fetch"] = {"title": "hello"}  # the step's output; an exception makes the step fail
        run = client.workflows.submit("name: demo\\nversion: 1\\n...", {"x": 1})
        client.workflows.approve(run, "release")
        server.skip(3 * 86_400)  # three days later

Steps complete at once, in the order of the definition's edges. A `signal` step waits for its signal and an `approval`
for its answers, until `skip` has reached the end of their time. So does a run that is paused until a time. The time of
a `wait` passes by itself, unless `skip_time` is false. Pause, resume, breakpoints, cancel, fork, retry, batches and
`why` work as on a real server. The output of a run is its inputs. Where `outputs` names one of its steps, it is what
the definition's `outputs` refer to.

The fake checks keys, orgs and idempotency, but no definitions. It ignores conditions, retries and edges back, and a map
or a loop is a single step. `fail_next(...)` makes the next calls of a method fail. `drop_watch_after` cuts streams, to
test reconnects. `calls` counts the calls.
"""

from agentflow_sdk.testing.details import status_details
from agentflow_sdk.testing.server import FakeAgentFlow

__all__ = ["FakeAgentFlow", "status_details"]
