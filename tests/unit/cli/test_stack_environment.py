"""What the services of an embedded stack are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.stack.environment import services_environment
from agentctl.stack.layout import Layout, Options


def test_the_users_values_count_where_the_stack_has_no_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, options = Layout(tmp_path), Options(data_dir=tmp_path)
    monkeypatch.delenv("AGENTFLOW_BUCKET_ROOT", raising=False)
    monkeypatch.setenv("NATS_URL", "nats://elsewhere")
    made = services_environment(layout, options, "nats://here", {"DB_HOST": "socket"})
    assert made["AGENTFLOW_BUCKET_ROOT"] == str(tmp_path / "buckets")
    assert (made["NATS_URL"], made["DB_HOST"]) == ("nats://here", "socket")
    monkeypatch.setenv("AGENTFLOW_BUCKET_ROOT", "/srv/buckets")
    assert services_environment(layout, options, "", {})["AGENTFLOW_BUCKET_ROOT"] == "/srv/buckets"
