"""Services that can't start: they name the variable, hide its value, and let themselves be stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HIDDEN = "Sup3r" + "S3cret"


def started(service: str, folder: Path, **env: str) -> subprocess.Popen[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("NATS", "DB_", "LOG_"))}
    return subprocess.Popen(
        [sys.executable, "-m", f"agentflow_{service}"], cwd=folder, env={**plain, **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("NATS_URL", f"http://u:{HIDDEN}@127.0.0.1:4222"), ("NATS_URL", f"://{HIDDEN}@@@"), ("LOG_LEVEL", "LOUD"),
     ("HTTP_PORT", "99999")],
)  # fmt: skip
@pytest.mark.parametrize("service", ["gateway", "worker", "trace"])
def test_a_setting_that_is_wrong_is_named_without_its_value(
    service: str, name: str, value: str, tmp_path: Path
) -> None:
    process = started(service, tmp_path, **{"CLICKHOUSE_PATH": str(tmp_path / "ch"), name: value})
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert name in output
    assert HIDDEN not in output
    assert "Traceback" not in output
    assert "Value error" not in output
    assert name != "LOG_LEVEL" or "\n  LOG_LEVEL: use one of DEBUG, INFO" in output
    assert name != "HTTP_PORT" or "\n  HTTP_PORT: must be at most 65,535\n" in output


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", ["scheduler", "gateway"])
def test_a_service_that_waits_for_nats_says_so_and_can_be_stopped(
    service: str, signum: signal.Signals, tmp_path: Path
) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        process = started(service, tmp_path, NATS_URL=f"nats://u:{HIDDEN}@127.0.0.1:{port}")
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            while "NATS_URL" not in line:
                assert line, "it ended before it said what it waits for"
                line = process.stdout.readline()
            assert f"127.0.0.1:{port}" in line
            process.send_signal(signum)
            rest, _ = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, rest
    assert HIDDEN not in line + rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"DB_USER": "nobody_here"}, "DB_PASSWORD"), ({"DB_NAME": "nothing_here"}, "DB_NAME")],
)
def test_a_database_that_refuses_is_told_by_its_setting(
    wrong: dict[str, str], named: str, nats_url: str, db_env: dict[str, str], tmp_path: Path
) -> None:
    process = started("prompt", tmp_path, NATS_URL=nats_url, **{**db_env, **wrong})
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert named in output
    assert "can't start" in output
    assert "Traceback" not in output
    assert not db_env.get("DB_PASSWORD") or db_env["DB_PASSWORD"] not in output


def test_a_vault_key_that_is_none_is_told_without_it(nats_url: str, db_env: dict[str, str], tmp_path: Path) -> None:
    process = started("security", tmp_path, NATS_URL=nats_url, AGENTFLOW_VAULT_KEY=HIDDEN, **db_env)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "AGENTFLOW_VAULT_KEY must be 32 bytes" in output
    assert HIDDEN not in output
    assert "Traceback" not in output
