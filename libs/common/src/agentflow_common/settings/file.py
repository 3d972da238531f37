"""The YAML file of settings: flat names of variables, or sections as other systems write them.

Every service reads the same file, so it may name settings of other services. A key that no service knows is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from agentflow_common.errors import InvalidError, Problem
from agentflow_common.hints import did_you_mean

# The variable of each key in a section.
SECTIONS: Final[dict[str, dict[str, str]]] = {
    "server": {"host": "API_HOST", "port": "API_PORT"},
    "database": {
        "host": "DB_HOST", "port": "DB_PORT", "user": "DB_USER", "password": "DB_PASSWORD", "name": "DB_NAME",
        "database": "DB_NAME", "ssl_mode": "DB_SSL_MODE", "sslmode": "DB_SSL_MODE",
    },
    "clickhouse": {
        "host": "CLICKHOUSE_HOST", "port": "CLICKHOUSE_PORT", "user": "CLICKHOUSE_USER",
        "password": "CLICKHOUSE_PASSWORD", "database": "CLICKHOUSE_DATABASE",
    },
    "nats": {"url": "NATS_URL"},
    "worker": {"id": "WORKER_ID", "concurrency": "WORKER_CONCURRENCY"},
    "auth": {"api_keys": "API_KEYS"},
    "logging": {"level": "LOG_LEVEL", "format": "LOG_FORMAT"},
}  # fmt: skip
_READ_OVER: Final = frozenset({"redis"})  # sections of predecessors: NATS and PostgreSQL do the work of Redis
# The names of all settings of all services; a test compares them with the settings themselves.
KNOWN: Final = frozenset(
    [
        "ACK_WAIT_S",
        "AGENTFLOW_ACK_WAIT_S",
        "AGENTFLOW_BUCKET_ROOT",
        "AGENTFLOW_COST_SWEEP_S",
        "AGENTFLOW_DATA_DIR",
        "AGENTFLOW_DEV_KEY_FILE",
        "AGENTFLOW_DURABILITY",
        "AGENTFLOW_FILE_BYTES_MAX",
        "AGENTFLOW_FILE_ROOTS",
        "AGENTFLOW_HTTP_ALLOW_PRIVATE",
        "AGENTFLOW_HTTP_BYTES_MAX",
        "AGENTFLOW_LLM_TIMEOUT_S",
        "AGENTFLOW_MODELS_FILE",
        "AGENTFLOW_REPLICAS",
        "AGENTFLOW_RUN_DIR",
        "AGENTFLOW_SIM_MODELS",
        "AGENTFLOW_TEXT_CHARS_MAX",
        "AGENTFLOW_TRACE_EXPORT",
        "AGENTFLOW_TRACE_EXPORT_HEADERS",
        "AGENTFLOW_TRIGGER_DATABASES",
        "AGENTFLOW_VAULT_KEY",
        "AGENTFLOW_VAULT_KEY_FILE",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "API_HOST",
        "API_HTTP_PORT",
        "API_KEY",
        "API_KEYS",
        "API_PORT",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "BUCKET_ROOT",
        "CALLS_ACTIVE_MAX",
        "CHAIN_STEPS",
        "CLICKHOUSE_CA_CERT",
        "CLICKHOUSE_CLIENT_CERT",
        "CLICKHOUSE_CLIENT_KEY",
        "CLICKHOUSE_DATABASE",
        "CLICKHOUSE_HOST",
        "CLICKHOUSE_PASSWORD",
        "CLICKHOUSE_PATH",
        "CLICKHOUSE_PORT",
        "CLICKHOUSE_SECURE",
        "CLICKHOUSE_USER",
        "CLICKHOUSE_VERIFY",
        "COHERE_API_KEY",
        "COHERE_BASE_URL",
        "CONCURRENCY",
        "DATA_DIR",
        "DB_HOST",
        "DB_NAME",
        "DB_PASSWORD",
        "DB_POOL_MAX",
        "DB_PORT",
        "DB_SSL_CERT",
        "DB_SSL_KEY",
        "DB_SSL_MODE",
        "DB_SSL_ROOT_CERT",
        "DB_USER",
        "DEFAULT_ORG_ID",
        "DEV_KEY_FILE",
        "DURABILITY",
        "FILE_BYTES_MAX",
        "FILE_ROOTS",
        "GOOGLE_API_KEY",
        "GOOGLE_BASE_URL",
        "HTTP_ALLOW_PRIVATE",
        "HTTP_BYTES_MAX",
        "HTTP_HOST",
        "HTTP_PORT",
        "INPUTS_BYTES_MAX",
        "KEY_CACHE_S",
        "LANES",
        "LEASE_TTL_S",
        "LLM_TIMEOUT_S",
        "LOAD",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MAX_ACTIVE_RUNS",
        "MAX_ACTIVE_RUNS_PER_ORG",
        "MAX_READY_STEPS",
        "MAX_SCHEDULER_RSS_BYTES",
        "MODELS_FILE",
        "NATS_URL",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTLP_ENDPOINT",
        "POOLS",
        "REPORTS_TOGETHER",
        "REPLICAS",
        "RETENTION_HOURS",
        "RETENTION_MIN_S",
        "RETENTION_SWEEP_S",
        "RUN_DIR",
        "S3_ACCESS_KEY_ID",
        "S3_ENDPOINT",
        "S3_REGION",
        "S3_SECRET_ACCESS_KEY",
        "S3_SESSION_TOKEN",
        "SCHEDULER_LEASE_TTL_S",
        "SCHEDULER_ROW_STEPS",
        "SCHEDULER_SNAPSHOT_EVERY",
        "SCHEDULER_WINDOW_STEPS",
        "SHUTDOWN_GRACE_S",
        "SIM_MODELS",
        "SNAPSHOT_EVERY",
        "STEP_TIMEOUT_S_MAX",
        "SUBWORKFLOW_DEPTH_MAX",
        "SWEEP_S",
        "TEXT_CHARS_MAX",
        "THREADS_MAX",
        "TRACE_BATCH_AGE_MS",
        "TRACE_BATCH_ROWS",
        "TRACE_BODIES_DAYS",
        "TRACE_DERIVED_DAYS",
        "TRACE_EXPORT",
        "TRACE_EXPORT_HEADERS",
        "TRACE_EXPORT_SAMPLE",
        "TRIGGER_DATABASES",
        "TRIGGER_SUBJECTS",
        "VAULT_KEY",
        "VAULT_KEY_FILE",
        "WAITERS_MAX",
        "WAIT_S_MAX",
        "WATCHERS_MAX",
        "WATCH_QUEUE_MAX",
        "WINDOW_STEPS",
        "WORKER_CONCURRENCY",
        "WORKER_ID",
        "WORKER_LANES",
        "WORKER_LOAD",
        "WORKER_REPORTS_TOGETHER",
        "WORKER_THREADS_MAX",
    ]
)
# `$${`, or a variable with or without a default, or a `${` that is neither
_VARIABLE: Final = re.compile(r"(\$\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|\$\{")
_FORMS: Final = "write ${NAME} or ${NAME:-default}, without another variable in it; a plain `${` is written `$${`"


class _Loader(yaml.SafeLoader):
    """Reads YAML as `safe_load` does, and refuses a key that appears twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in names:
                    raise _TwiceError(None, None, f"the key {key.value[:80]!r} appears twice", key.start_mark)
                names.add(key.value)
        return super().construct_mapping(node, deep)


class _TwiceError(yaml.MarkedYAMLError):
    """A key that appears twice in a mapping."""


def read(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of a file by the name of their variable. Raises InvalidError with every problem."""
    try:
        data = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506  (a safe loader)
    except (OSError, UnicodeError) as error:
        text = f"the file {path} can't be read ({type(error).__name__})"
        raise InvalidError.at("AGENTFLOW_CONFIG", text, "correct the path") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path} line {mark.line + 1}" if mark is not None else str(path)
        if isinstance(error, _TwiceError):
            raise InvalidError.at(place, str(error.problem), "remove one") from None
        raise InvalidError.at(place, "it is not YAML", "correct it") from None
    except RecursionError:
        raise InvalidError.at(str(path), "it is nested too deeply", "flatten it") from None
    try:
        return values(data, environment)
    except RecursionError:  # a part that contains itself
        raise InvalidError.at(str(path), "it is nested too deeply", "flatten it") from None


def values(data: Any, environment: Mapping[str, str], known: frozenset[str] = KNOWN) -> dict[str, Any]:
    """Returns the file's values by the name of their variable, in upper case. Raises InvalidError with every problem.

    known: the names of all variables of all services.
    """
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidError.at(
            "the file of settings", "it is not a mapping", "write `NATS_URL: ...`, or `nats: {url: ...}`"
        )
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    for place, variable, value in _entries(data, known, problems):
        if variable in found:
            problems.append(Problem(place, f"{variable} is set twice", "remove one"))
        found[variable] = _expanded(value, place, environment, problems)
    if problems:
        raise InvalidError.of(problems, "the file of settings is not valid")
    return found


def _entries(data: dict[Any, Any], known: frozenset[str], problems: list[Problem]) -> Iterator[tuple[str, str, Any]]:
    """Yields (place, variable, value) of each value that a service reads."""
    for key, value in data.items():
        name = str(key)
        if name in _READ_OVER:
            continue
        section = SECTIONS.get(name)
        if section is None or (name.upper() in known and not isinstance(value, dict)):
            if name.upper() not in known:
                fix = did_you_mean(name, [*SECTIONS, *(n.lower() if name.islower() else n for n in sorted(known))])
                problems.append(Problem(name, "no service has this setting", fix or "docs/settings.md lists all"))
            elif isinstance(value, dict):
                problems.append(Problem(name, "it takes a value, not a section", f"write `{name}: ...`"))
            else:
                yield name, name.upper(), value
        elif not isinstance(value, dict):
            problems.append(Problem(name, "it is a section", f"write `{name}:` and below it {', '.join(section)}"))
        else:
            for inner, part in value.items():
                place = f"{name}.{inner}"
                if inner not in section:
                    listed = f"its keys are {', '.join(section)}"
                    problems.append(
                        Problem(place, "no service has this setting", did_you_mean(str(inner), section, listed))
                    )
                else:
                    yield place, section[inner], part


def _expanded(value: Any, place: str, environment: Mapping[str, str], problems: list[Problem]) -> Any:
    """Returns the value with `${NAME}` and `${NAME:-default}` in its texts replaced; `$${` is a plain `${`."""
    if isinstance(value, list):
        return [_expanded(item, place, environment, problems) for item in value]
    if isinstance(value, dict):
        return {key: _expanded(item, place, environment, problems) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        doubled, name, default = match.groups()
        if doubled:
            return "${"
        if name is None:
            problems.append(Problem(place, "a `${` is not followed by the name of a variable and `}`", _FORMS))
            return ""
        found = environment.get(name, "")
        if not found and default is None and name not in environment:
            problems.append(Problem(place, f"the variable {name} is not set", f"set it, or write ${{{name}:-default}}"))
        return found or default or ""

    return _VARIABLE.sub(replaced, value)
