"""The labels of the metrics, each with the most values that one process shows.

Names of orgs, workflows, models, tools and budgets come from users. The other values come from the code.
"""

from __future__ import annotations

from typing import Final

from agentflow_common.metrics.bounded import Label

ORG: Final = Label("org", 50, "an org")
WORKFLOW: Final = Label("workflow", 100, "the name of a workflow")
PROVIDER: Final = Label("provider", 20, "a provider of models")
MODEL: Final = Label("model", 100, "a model")
TOOL: Final = Label("tool", 200, "a tool")
POOL: Final = Label("pool", 50, "a worker pool, a pool of threads or a pool of connections")
QUEUE: Final = Label("queue", 60, "a consumer of the log")
KIND: Final = Label("kind", 20, "the type of a node, or the way in which a schedule was triggered")
STATUS: Final = Label("status", 40, "how it ended: `ok`, or the kind of the failure")
QUALITY: Final = Label("quality", 5, "Gold, Silver or Bronze")
TYPE: Final = Label("type", 5, "`input` or `output`")
METHOD: Final = Label("method", 200, "a method of the gRPC API")
CODE: Final = Label("code", 60, "the status of an answer")
ROUTE: Final = Label("route", 20, "a route of HTTP")
VERB: Final = Label("verb", 120, "a question between services, `<service>.<verb>`")
ENTITY: Final = Label("entity", 200, "a category of sensitive data")
STREAM: Final = Label("stream", 60, "a stream of JetStream")
TABLE: Final = Label("table", 20, "a table of ClickHouse")
ORIGIN: Final = Label("origin", 10, "the service that set a message aside")
REASON: Final = Label("reason", 60, "why it was set aside")
CHANGE: Final = Label("change", 5, "`taken`, `lost` or `given`")
MODE: Final = Label("mode", 5, "the mode of a replay")
DIRECTION: Final = Label("direction", 2, "`in` or `out`, `read` or `written`")
INTERFACE: Final = Label("interface", 10, "a network interface")
STATE: Final = Label("state", 6, "`busy`, `idle` or `waiting`")
