"""The file of settings: sections, variables of the environment, and keys that no service knows."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agentflow_common.errors import InvalidError
from agentflow_common.settings import DatabaseSettings, file_names, load
from agentflow_common.settings import file as settings_file
from agentflow_gateway.settings import GatewaySettings
from agentflow_worker.settings import WorkerSettings
from tests.docs.settings import SERVICES

CONTROL_PLANE = """
server:
  host: "0.0.0.0"
  port: 8080

database:
  host: "${DB_HOST}"
  port: ${DB_PORT}
  user: "${DB_USER}"
  password: "${DB_PASSWORD}"
  database: "${DB_NAME}"
  ssl_mode: "${DB_SSL_MODE}"

redis:
  host: "${REDIS_HOST}"
  port: ${REDIS_PORT}
  password: "${REDIS_PASSWORD}"

nats:
  url: "${NATS_URL:-nats://nats:4222}"

auth:
  api_keys:
    - key: "your-secure-api-key"
      org_id: "your-org-uuid"
      permissions: ["read", "write", "admin"]

logging:
  level: "info"
  format: "json"
"""
WORKER = """
worker:
  id: "${WORKER_ID:-worker-1}"
  concurrency: 20
nats:
  url: nats://nats:4222
"""


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in settings_file.KNOWN:
        monkeypatch.delenv(name, raising=False)

    def write(text: str) -> None:
        (tmp_path / "settings.yaml").write_text(text)
        monkeypatch.setenv("AGENTFLOW_CONFIG", str(tmp_path / "settings.yaml"))

    return write


def test_the_known_names_are_those_of_all_services() -> None:
    names = set()
    for place in SERVICES.values():
        module, _, name = place.rpartition(".")
        for field, info in getattr(importlib.import_module(module), name).model_fields.items():
            names |= set(file_names(field, info))
    assert names == settings_file.KNOWN
    variables = {variable for section in settings_file.SECTIONS.values() for variable in section.values()}
    assert variables <= settings_file.KNOWN


def test_the_sections_of_the_predecessors_are_read(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "postgres")
    there = {"DB_PORT": "5433", "DB_SSL_MODE": "disable", "DB_USER": "agentflow", "DB_PASSWORD": "${x}"}
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    at(CONTROL_PLANE.replace("${DB_NAME}", "${DB_NAME:-flows}").replace("${REDIS_PASSWORD}", "$${plain}"))
    found = GatewaySettings()
    assert (found.api_host, found.api_port, found.log_level, found.log_format) == ("0.0.0.0", 8080, "INFO", "json")
    assert (found.db_host, found.db_port, found.db_user, found.db_name) == ("postgres", 5433, "agentflow", "flows")
    assert (found.db_password, found.db_ssl_mode, found.nats_url) == ("${x}", "disable", "nats://nats:4222")
    (key,) = found.api_keys
    assert (key.key.get_secret_value(), key.org_id) == ("your-secure-api-key", "your-org-uuid")
    assert key.permissions == ("read", "write", "admin")
    assert DatabaseSettings().db_port == 5433


@pytest.mark.parametrize("redis", ["{url: 'redis://x', db: 0}", "{cluster: {nodes: ['${NOT_SET}']}}", "redis://x"])
def test_a_section_of_redis_is_read_over_whatever_is_in_it(at: Any, redis: str) -> None:
    at(f"redis: {redis}\nworker: {{concurrency: 7}}")
    assert WorkerSettings().concurrency == 7


def test_the_environment_wins_over_a_section(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at(WORKER)
    assert (WorkerSettings().worker_id, WorkerSettings().concurrency) == ("worker-1", 20)
    monkeypatch.setenv("WORKER_ID", "mine")
    monkeypatch.setenv("WORKER_CONCURRENCY", "3")
    assert (WorkerSettings().worker_id, WorkerSettings().concurrency) == ("mine", 3)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("worker: {concurency: 20}", ["worker.concurency: no service has this setting (did you mean 'concurrency'?)"]),
        ("nats_ur: x", ["nats_ur: no service has this setting (did you mean 'nats_url'?)"]),
        ("NATS: {url: x}", ["NATS: no service has this setting (did you mean"]),
        ("zzz: 1", ["zzz: no service has this setting (docs/settings.md lists all)"]),
        ("nats_url: {a: b}", ["nats_url: it takes a value, not a section (write `nats_url: ...`)"]),
        ("nats: x", ["nats: it is a section (write `nats:` and below it url)"]),
        (
            "nats: {url: '${NOT_THERE}'}",
            ["nats.url: the variable NOT_THERE is not set (set it, or write ${NOT_THERE:-"],
        ),
        ("NATS_URL: a\nnats: {url: b}", ["nats.url: NATS_URL is set twice (remove one)"]),
        ("[a]", ["the file of settings: it is not a mapping"]),
        ("a: {b", ["settings.yaml line 1: it is not YAML"]),
        ("zz: 1\nnats: {b: 1}", ["zz: no service", "nats.b: no service has this setting (its keys are url)"]),
    ],
)
def test_a_file_with_a_mistake_stops_the_service_with_each_problem(at: Any, text: str, problems: list[str]) -> None:
    at(text)
    with pytest.raises(SystemExit) as caught:
        load(WorkerSettings)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("can't start, these settings are wrong in the file of AGENTFLOW_CONFIG, /")
    assert head.endswith("/settings.yaml:")
    assert len(lines) == len(problems)
    for line, expected in zip(lines, problems, strict=True):
        assert expected in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("worker: {concurrency: true}", "CONCURRENCY: write an integer"),
        ("step_timeout_s_max: true", "STEP_TIMEOUT_S_MAX: write a number"),
    ],
)
def test_true_is_no_number_of_a_setting(at: Any, text: str, problem: str) -> None:
    at(text)
    with pytest.raises(SystemExit, match=problem):
        load(WorkerSettings)


@pytest.mark.parametrize("place", SERVICES.values())
def test_no_number_of_any_service_takes_true(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings_file.KNOWN:
        monkeypatch.delenv(name, raising=False)
    module, _, name = place.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    numbers = [name for name, info in kind.model_fields.items() if info.annotation in {int, float, int | None}]
    with pytest.raises(ValidationError) as caught:
        kind(**dict.fromkeys(numbers, True))
    assert [error["type"] in {"int_type", "float_type"} for error in caught.value.errors()] == [True] * len(numbers)


def test_a_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AGENTFLOW_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SystemExit, match=r"AGENTFLOW_CONFIG: the file .*none.yaml can't be read \(FileNotFoundError\)"):
        load(WorkerSettings)


def test_values_inside_of_lists_are_replaced_and_set_but_empty_variables_are_empty() -> None:
    data = {"auth": {"api_keys": [{"key": "${K}-${E}", "permissions": ["read"]}]}}
    found = settings_file.values(data, {"K": "abc", "E": ""})
    assert found == {"API_KEYS": [{"key": "abc-", "permissions": ["read"]}]}
    assert settings_file.values(None, {}) == {}
    with pytest.raises(InvalidError, match="the variable X is not set"):
        settings_file.values({"nats_url": "${X}"}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nats: {url: '${NATS_HOST'}", "nats.url: a `${` is not followed by the name of a variable"),
        ("nats: {url: '${}'}", "nats.url: a `${` is not followed by the name of a variable"),
        ("nats: {url: '${A:-${B:-c}}'}", "nats.url: a `${` is not followed by the name of a variable"),
        ("nats: {url: a}\nlogging: {level: info}\nnats: {url: b}", "line 3: the key 'nats' appears twice"),
        ("nats: {url: a, url: b}", "line 1: the key 'url' appears twice"),
        ("auth: &a {api_keys: [*a]}", "it is nested too deeply (flatten it)"),
        ("auth: {api_keys: " + "[" * 3_000 + "]" * 3_000 + "}", "it is nested too deeply (flatten it)"),
    ],
)
def test_a_file_that_can_not_mean_what_it_says_is_refused(at: Any, text: str, message: str) -> None:
    at(text)
    with pytest.raises(SystemExit) as caught:
        load(WorkerSettings)
    assert message in str(caught.value)


def test_a_plain_dollar_and_brace_can_be_written(at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "h")
    at("nats: {url: 'nats://$${a}:$${b@${HOST}:4$2'}")
    assert load(WorkerSettings).nats_url == "nats://${a}:${b@h:4$2"
