"""`agentctl trace`: the group of all commands about traces."""

from __future__ import annotations

from agentctl.commands.trace import diff, explain, export, plot, querying, reading, rebuild, replay
from agentctl.groups import RemoteGroup

app = RemoteGroup("trace", "Look at what runs did.")
reading.add_to(app)
explain.add_to(app)
querying.add_to(app)
plot.add_to(app)
diff.add_to(app)
rebuild.add_to(app)
export.add_to(app)
replay.add_to(app)
