"""Bad input over gRPC and over the CLI: the right code, the place, the fix, and nothing written."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .conftest import Platform
from .searching import submissions

pytestmark = pytest.mark.e2e

GOOD = """\
name: bad_input
inputs:
  text: {type: string}
  count: {type: integer, required: false, default: 1}
dag:
  nodes:
    - id: first
      type: function
      config: {function_name: text_stats, function_args: {text: "{{text}}"}}
    - id: second
      type: llm
      config: {prompt_ref: summarizer@1, inputs: {content: "{{text}}"}}
  edges:
    - {from: first, to: second}
"""


@dataclass
class Case:
    """text: the definition. place, fix: what the error must name. cli: exit status."""

    name: str
    code: str
    place: str
    fix: str
    text: str = GOOD
    inputs: dict[str, Any] = field(default_factory=lambda: {"text": "A short text."})
    token: str = ""
    org: str = ""
    cli: int = 2


def broken(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


CASES = [
    Case(
        "unknown node type", "invalid_argument", r"line 8.*dag\.nodes\[0\]\.type", "use one of",
        text=broken("type: function", "type: teleport"),
    ),
    Case(
        "cycle", "invalid_argument", r"line 13.*dag\.edges", "remove one",
        text=GOOD + "    - {from: second, to: first}\n",
    ),
    Case(
        "missing prompt", "invalid_argument", r"line 12.*prompt_ref", "did you mean|create it|summarizer",
        text=broken("summarizer@1", "summariser@1"),
    ),
    Case(
        "unknown edge end", "invalid_argument", r"line 14.*dag\.edges\[0\]\.to", "did you mean 'second'",
        text=broken("to: second", "to: secnd"),
    ),
    Case(
        "bad CEL", "invalid_argument", r"line 12.*condition", "write CEL",
        text=broken("      type: llm", '      type: llm\n      condition: "first.output.words >"'),
    ),
    Case("inputs of 2 MB", "invalid_argument|resource_exhausted", "inputs", r"limit|bytes|key",
         inputs={"text": "x" * 2_000_000}),
    Case("unknown org", "permission_denied", "", "leave the org out", org="no-such-org", cli=4),
    Case("wrong key", "unauthenticated", "", "API key", token="afk_" + "0" * 43, cli=4),
    Case(
        "wrong type of an input", "invalid_argument", r"inputs\.count", "integer",
        inputs={"text": "A short text.", "count": "many"},
    ),
    Case("missing input", "invalid_argument", r"inputs\.text", "string", inputs={}),
    Case("wrong type in the definition", "invalid_argument", r"line 6.*dag\.nodes", "", text="name: bad_input\n"
         "version: 1\ninputs: {}\noutputs: {}\ndag:\n  nodes: 5\n"),
    Case("malformed YAML", "invalid_argument", r"line \d+", "indentation|quotes",
         text=broken("{from: first, to: second}", "{from: first, to: second")),
    Case("unknown tool", "invalid_argument", r"line 9.*function_name", "text_stats",
         text=broken("text_stats", "text_statz")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_over_grpc(platform: Platform, case: Case) -> None:
    from agentflow_sdk import AgentFlowError

    before = asyncio.run(submissions(platform.stack.nats_url))
    with platform.client(case.token, case.org) as client, pytest.raises(AgentFlowError) as caught:
        client.workflows.submit(case.text, case.inputs)
    error = caught.value
    assert re.fullmatch(case.code, error.code), (error.code, str(error))
    said = "\n".join([str(error), *map(str, error.problems)])
    places = "\n".join(problem.place for problem in error.problems)
    assert re.search(case.place, places), said
    assert re.search(case.fix, said), said
    assert asyncio.run(submissions(platform.stack.nats_url)) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_over_the_command_line(platform: Platform, case: Case, tmp_path: Path) -> None:
    import json

    before = asyncio.run(submissions(platform.stack.nats_url))
    file = tmp_path / "flow.yaml"
    file.write_text(case.text)
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps(case.inputs))
    more = ["--org-id", case.org] if case.org else []
    done = platform.cli("workflow", "submit", str(file), "--inputs-json", f"@{inputs}", *more, token=case.token)
    assert done.returncode == case.cli, (done.returncode, done.stderr)
    assert done.stdout == ""
    said = re.sub(r"\s+", " ", done.stderr)
    assert "Traceback" not in said
    assert re.search(case.fix, said), said
    if case.place.startswith("line"):
        assert re.search(r"flow\.yaml:\d+", done.stderr.replace("\n", "")), done.stderr
    assert asyncio.run(submissions(platform.stack.nats_url)) == before


def test_what_is_not_there(platform: Platform) -> None:
    from agentflow_sdk import NotFoundError

    with platform.client() as client:
        with pytest.raises(NotFoundError, match="no workflow 'nowhere'"):
            client.workflows.submit("nowhere")
        with pytest.raises(NotFoundError):
            client.workflows.get("run_00000000000000000000000000")
    assert platform.cli("workflow", "submit", "no/such/file.yaml").returncode == 2
    assert platform.cli("workflow", "get", "run_00000000000000000000000000").returncode == 2
