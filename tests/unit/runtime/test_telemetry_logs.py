"""What reaches a log file: our own lines with their ids, and no request or document that a library would quote."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from agentflow_common import telemetry
from agentflow_common.settings import Settings


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    names = ["agentflow_worker", *telemetry._OURS, *telemetry._QUOTING]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:], root.level = handlers, level
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)


@pytest.mark.usefixtures("logging_put_back")
@pytest.mark.parametrize("level", ["debug", "INFO"])
def test_libraries_do_not_log_what_they_send_or_read(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup("worker", Settings(log_level=level))
    for name in ("httpx2", "httpx", "openai._base_client", "anthropic", "a_library_of_tomorrow"):
        logging.getLogger(name).info("GET http://host/?secret=payload")
        logging.getLogger(name).debug("Request options: payload")
    logging.getLogger("pypdf._reader").warning("could not read payload")
    logging.getLogger("a_library_of_tomorrow").warning("disk full")
    with telemetry.log_context(run="run_1", step="a"):
        logging.getLogger("agentflow_worker.app").info("ready")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["disk full", "ready"]
    assert lines[1]["run"] == "run_1"
    assert lines[1]["step"] == "a"
    assert lines[1]["service"] == "worker"
