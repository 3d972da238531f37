"""The error types of retry policies: short names, statuses, and what can't be meant."""

from __future__ import annotations

from typing import Any

import pytest

from agentflow_common.definition.model import Definition
from agentflow_common.definition.parse import parse_text
from agentflow_common.errors import InvalidError

TEXT = """\
name: w
dag:
  nodes:
    - id: a
      type: tool
      config: {tool_name: http.get, tool_args: {url: "https://example.org"}}
      policy:
        retry: %s
"""


def parsed(retry: str) -> Definition:
    return parse_text(TEXT % retry)


def problems(retry: str) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidError) as caught:
        parsed(retry)
    return [(found.place, found.message, found.fix) for found in caught.value.problems]


@pytest.mark.parametrize(
    ("retry", "on", "not_on"),
    [
        ("{on: [http_503]}", ("http_503",), ()),
        ("{on: 503}", ("http_503",), ()),
        ("{on: [502, http_5xx], not_on: ValueError}", ("http_502", "http_5xx"), ("ValueError",)),
        ('{"on": TimeoutError}', ("TimeoutError",), ()),
        ("{on: [card_declined, MyError, Timeout, http_429]}", ("card_declined", "MyError", "Timeout", "http_429"), ()),
    ],
)
def test_short_names(retry: str, on: tuple[str, ...], not_on: tuple[str, ...]) -> None:
    found = parsed(retry)
    policy = found.dag.nodes[0].policy.retry
    assert (policy.retryable, policy.non_retryable) == (on, not_on)
    raw: dict[str, Any] = found.canonical()["dag"]["nodes"][0]["policy"]["retry"]
    assert raw == {"retryable": [*on], **({"non_retryable": [*not_on]} if not_on else {})}


@pytest.mark.parametrize(
    ("retry", "message", "fix"),
    [
        ("{on: [timeot]}", "no error has the type 'timeot'", "did you mean 'timeout'?"),
        ("{on: [rate_limted]}", "no error has the type 'rate_limted'", "did you mean 'rate_limited'?"),
        ("{not_on: [ConectionError]}", "no error has the type 'ConectionError'", "did you mean 'ConnectionError'?"),
        ("{not_on: [VlaueError]}", "no error has the type 'VlaueError'", "did you mean 'ValueError'?"),
        ("{on: [http_5x]}", "no error of http.get has the type 'http_5x'", "did you mean 'http_5xx'?"),
        ("{on: [http_200]}", "no error of http.get has the type 'http_200'",
         "write http_503 for one status, http_5xx for all of a class, http_status for any"),
        ("{on: [http.503]}", "no error of http.get has the type 'http.503'",
         "write http_503 for one status, http_5xx for all of a class, http_status for any"),
        ("{on: [E], not_on: [E]}", "'E' is in both lists of the retry policy", "remove it from one"),
    ],
)  # fmt: skip
def test_types_that_cannot_be_meant(retry: str, message: str, fix: str) -> None:
    ((place, found, how),) = problems(retry)
    assert (found, how) == (message, fix)
    assert place.startswith("line 8, ")


def test_both_names_of_a_list_are_refused() -> None:
    ((_, message, _),) = problems("{on: [E], retryable: [F]}")
    assert message == "`on` and `retryable` mean the same: give one of them"


def test_an_unknown_field_is_still_named() -> None:
    ((_, message, fix),) = problems("{no_on: [E]}")
    assert (message, fix) == ("unknown field 'no_on'", "did you mean 'not_on'?")
