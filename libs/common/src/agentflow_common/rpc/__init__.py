"""The questions that services ask each other over NATS request/reply, `af.rpc.<service>.<verb>`.

Each verb has one request and one reply type; a reply on the wire is `{"ok": <reply>}` or `{"error": <ErrorBody>}`.
Additive changes only.
"""

from agentflow_common.rpc.cost import *  # noqa: F403  (the face of the room: a verb is `rpc.<its name>`)
from agentflow_common.rpc.prompt import *  # noqa: F403
from agentflow_common.rpc.scheduler import *  # noqa: F403
from agentflow_common.rpc.security import *  # noqa: F403
from agentflow_common.rpc.trace import *  # noqa: F403
from agentflow_common.rpc.trace_calls import *  # noqa: F403
from agentflow_common.rpc.trace_diff import *  # noqa: F403
from agentflow_common.rpc.trace_explain import *  # noqa: F403
from agentflow_common.rpc.trace_groups import *  # noqa: F403
from agentflow_common.rpc.trace_query import *  # noqa: F403
from agentflow_common.rpc.trace_rebuild import *  # noqa: F403
from agentflow_common.rpc.trace_series import *  # noqa: F403
from agentflow_common.rpc.verbs import *  # noqa: F403
from agentflow_common.rpc.worker import *  # noqa: F403
