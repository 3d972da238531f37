"""The questions that services ask each other over NATS request/reply, `af.rpc.<service>.<verb>`.

Each verb has one request and one reply type; a reply on the wire is `{"ok": <reply>}` or `{"error": <ErrorBody>}`.
Additive changes only.
"""

from agentflow_common.rpc.cost import *  # noqa: F403  (the face of the room: a verb is `rpc.<its name>`)
from agentflow_common.rpc.prompt import *  # noqa: F403
from agentflow_common.rpc.scheduler import *  # noqa: F403
from agentflow_common.rpc.security import *  # noqa: F403
from agentflow_common.rpc.traces.calls import *  # noqa: F403
from agentflow_common.rpc.traces.diff import *  # noqa: F403
from agentflow_common.rpc.traces.explain import *  # noqa: F403
from agentflow_common.rpc.traces.groups import *  # noqa: F403
from agentflow_common.rpc.traces.query import *  # noqa: F403
from agentflow_common.rpc.traces.reading import *  # noqa: F403
from agentflow_common.rpc.traces.rebuild import *  # noqa: F403
from agentflow_common.rpc.traces.series import *  # noqa: F403
from agentflow_common.rpc.verbs import *  # noqa: F403
from agentflow_common.rpc.worker import *  # noqa: F403
