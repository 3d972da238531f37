"""The table of the kinds of causes in docs/explain.md."""

from __future__ import annotations

from agentflow_trace.explain.kinds import KINDS
from tests.docs.markdown import code
from tests.docs.markdown import table as markdown_table


def table() -> str:
    """Returns each kind with its meaning, how sure it is, and what to do."""
    rows = [(code(name), kind.meaning, kind.rule, kind.fix) for name, kind in sorted(KINDS.items())]
    return markdown_table(("Kind", "Meaning", "How sure", "What to do"), rows)
