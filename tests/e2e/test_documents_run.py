"""Every example of the documents is run to its end on one stack: definitions, shell blocks, Python and Node."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
import yaml

from agentflow_common import subjects
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, until_now

from . import documents
from .documents import DOCUMENTS, GIVEN, INPUTS, RUN, SHOWN, TUTORIAL, Block, all_blocks, blocks

if TYPE_CHECKING:
    from agentflow_sdk import Client

pytestmark = pytest.mark.e2e
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
NOT_RUN_MAX = 8  # blocks that a document may keep from this test: each says why
COMMAND_S_MAX = 180.0


def shared_blocks() -> list[Block]:
    """The examples that share one stack."""
    return [block for path in DOCUMENTS if path != TUTORIAL for block in blocks(path)]


@dataclass
class Checkout:
    """A copy of what the documents' commands need, beside a running stack."""

    folder: Path
    stack: Any
    env: dict[str, str]

    def client(self) -> Client:
        from agentflow_sdk import Client

        return Client(self.stack.grpc, self.stack.dev_key)

    def run(self, command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env={**self.env, **more}, capture_output=True, text=True, check=False,
            timeout=COMMAND_S_MAX, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    from tests.support.stack import running_stack

    folder = tmp_path_factory.mktemp("documents")
    here = folder / "checkout"
    for name in ("examples", "proto"):
        shutil.copytree(ROOT / name, here / name, ignore=shutil.ignore_patterns("__pycache__", "gen"))
    shutil.copy(ROOT / "examples/data/vendor_review.pdf", here / "contract.pdf")
    shutil.copytree(ROOT / "examples/data/posts", folder / "data/agentflow/buckets/posts")
    loads = [ROOT / "tests/e2e/document_tools.py"]
    for number, block in enumerate(shared_blocks()):
        if block.loads:
            loads.append(folder / f"module_{number}.py")
            loads[-1].write_text(block.text)
        if block.file:
            (here / block.file).write_text(block.text)
    env = {"WORKER_LANES": "default,gpu", "ORDERS_BOOK": str(folder / "orders.jsonl")}
    with running_stack(
        folder / "data",
        file_roots=[str(here), str(folder / "data/agentflow/files")],
        load=[str(path) for path in loads],
        env=env,
    ) as stack:
        (here / ".agentflow").symlink_to(folder / "data/agentflow")
        paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
        command_env = {**os.environ, "PATH": os.pathsep.join(paths), "AGENTFLOW_CLI_CONFIG": os.devnull}
        for name in ("AGENTFLOW_ENDPOINT", "AGENTFLOW_TOKEN", "API_KEY", "AGENTFLOW_DATA_DIR"):
            command_env.pop(name, None)
        made = Checkout(here, stack, command_env)
        with made.client() as client:
            client.workflows.register(GIVEN)
            client.workflows.label("one_customer", "prod", 1)
            client.workflows.run("one_customer@prod", {"customer": "ann"}, timeout=PATIENCE_S)
        yield made


def latest_run(checkout: Checkout) -> str:
    with checkout.client() as client:
        (run,) = until_now(lambda: list(client.workflows.list(limit=1)))
        return str(run.run_id)


def run_before(checkout: Checkout) -> str:
    """The run before the latest one."""
    with checkout.client() as client:
        found = until_now(lambda: list(client.workflows.list(limit=2))[1:])
        return str(found[0].run_id)


def spare_key(checkout: Checkout) -> str:
    """The id of a key that a document may revoke."""
    made = checkout.run(["agentctl", "keys", "create", "--name", "spare", "-o", "json"])
    return str(json.loads(made.stdout)["id"])


def dead_letter(checkout: Checkout) -> str:
    """The sequence of a dead letter: what a service found on a subject of the log and could not read."""

    async def bury() -> None:
        client = await nats.connect(checkout.stack.nats_url)
        key = subjects.key_of("default", "run_unreadable")
        await client.jetstream().publish(subjects.out_run(key), b"not an event")
        await client.close()

    asyncio.run(bury())
    with checkout.client() as client:
        found = until_now(lambda: client.admin.list_dead_letters(limit=1).letters)
    return str(found[0].sequence)


def audit_entry(checkout: Checkout) -> str:
    listed = json.loads(checkout.run(["agentctl", "audit", "list", "--limit", "1", "-o", "json"]).stdout)
    return f"audit get {listed[0]['sequence']}"


def audit_digest(checkout: Checkout) -> str:
    return checkout.run(["agentctl", "audit", "verify"]).stdout.strip()


def open_approval(checkout: Checkout) -> str:
    """The newest run, once a step of it waits for an approval."""
    run = latest_run(checkout)
    with checkout.client() as client:
        until_now(lambda: any(item.run_id == run for item in client.workflows.approvals()))
    return f"approve {run} approve"


PLACEHOLDERS: dict[str, Callable[[Checkout], str]] = {
    r"approve RUN approve\b": open_approval,
    r"\bRUN_A\b": run_before,
    r"\bRUN_B\b": latest_run,
    r"\bRUN\b": latest_run,
    r"\bSEQ\b": dead_letter,
    r"key_0123456789ab": spare_key,
    r"audit get 120": audit_entry,
    r"120:3f5a\.\.\.": audit_digest,
}


def resolved(checkout: Checkout, text: str) -> str:
    """The commands with what stands for an id replaced by one that is there."""
    for placeholder, find in PLACEHOLDERS.items():
        if re.search(placeholder, text):
            text = re.sub(placeholder, find(checkout), text)
    return documents.shell(text)


def answered(client: Client, workflow: str) -> bool:
    """Gives each open approval of a workflow one more; always True."""
    for item in client.workflows.approvals(workflow=workflow):
        people = [person for person in item.approvers or ("ann", "bo", "cy") if person not in item.answers]
        client.workflows.approve(item.run_id, item.step, as_person=people[0])
    return True


def run_to_its_end(client: Client, text: str) -> None:
    """Registers a definition, gives its run what it waits for, and follows it to its end."""
    definition = yaml.safe_load(text)
    name = definition["name"]
    client.workflows.register(text)
    asked = definition.get("inputs") or {}
    given = {key: value for key, value in INPUTS.get(name, {}).items() if key in asked}
    submission = client.workflows.submit(f"{name}@{definition.get('version', 1)}", given)
    for node in documents.nodes(text):
        if node.get("type") == "signal":
            client.workflows.signal(submission, node["config"]["signal"], {"by": "the test"})
    if documents.asks(text):
        until_now(lambda: answered(client, name) and client.workflows.get(submission).status.is_final)
    run = client.workflows.wait(submission, timeout=COMMAND_S_MAX)
    while run.continued_as:
        run = client.workflows.wait(run.continued_as, timeout=COMMAND_S_MAX)
    assert run.status.value == "completed", f"{name}: {run.error} (inputs for it stand in documents.INPUTS)"


def run_block(checkout: Checkout, block: Block) -> None:
    if block.language == "yaml":
        if documents.is_workflow(block.text):
            with checkout.client() as client:
                run_to_its_end(client, block.text)
        else:
            assert documents.is_schedule(block.text), f"{block.place}: neither a workflow nor a schedule"
            assert block.file, f"{block.place}: a schedule's first line names the file that commands use: `# x.yaml`"
        return
    if block.loads:
        return  # it was loaded by the stack: `test_what_the_documents_load_is_there`
    if block.language == "sh":
        for program in ("curl", "openssl"):
            if program in block.text and shutil.which(program) is None:
                pytest.skip(f"{block.place} needs {program}")
        done = checkout.run(["bash", "-euo", "pipefail", "-c", resolved(checkout, block.text)])
    elif block.language == "python":
        done = checkout.run([sys.executable, "-W", "error", "-c", block.text])
    else:
        return  # Node needs its packages: `test_the_node_example`
    said = f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == block.code, f"{block.place}: exit code {done.returncode}\n{said}"


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path != TUTORIAL], ids=lambda path: str(path.relative_to(ROOT))
)
def test_usage_12_every_example_of_a_document_runs_to_its_end(checkout: Checkout, path: Path) -> None:
    for block in blocks(path):
        if block.language in RUN and not block.reason:
            run_block(checkout, block)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_usage_12_every_shipped_workflow_runs_to_its_end(checkout: Checkout, path: Path) -> None:
    with checkout.client() as client:
        run_to_its_end(client, path.read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_usage_12_every_shipped_program_runs_to_its_end(checkout: Checkout, path: Path) -> None:
    program = checkout.folder / "examples/sdk" / f"{path.stem}.py"
    word = re.search(r'run\(flow, "(\w+)"\)', program.read_text())
    given = INPUTS[path.stem]
    command = [sys.executable, str(program), str(given[word[1]]) if word else json.dumps(given)]
    with (checkout.folder / f"{path.stem}.out").open("w+") as out:
        process = subprocess.Popen(command, cwd=checkout.folder, env=checkout.env, stdout=out, stderr=out)
        asks = documents.asks(path.read_text())
        with checkout.client() as client:
            until_now(lambda: (not asks or answered(client, path.stem)) and process.poll() is not None)
        out.seek(0)
        assert process.returncode == 0, out.read()


def test_usage_13_what_the_documents_load_is_there(checkout: Checkout) -> None:
    with checkout.client() as client:
        offered = {tool.name for tool in client.tools.list()}
    loaded = [block for block in shared_blocks() if block.loads]
    assert loaded
    for block in loaded:
        names = set(re.findall(r'@(?:tool|function)\((?:name=)?"([\w.]+)"', block.text))
        assert names, block.place
        assert names <= offered, block.place


def test_usage_12_the_node_example_runs_as_it_stands(checkout: Checkout) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    shutil.copy(ROOT / "tests/e2e/node/package.json", checkout.folder)
    try:
        done = checkout.run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"])
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in time")
    if done.returncode != 0:
        pytest.skip(f"npm install failed: {done.stderr.strip().splitlines()[-1:]}")
    programs = [block for block in shared_blocks() if block.language == "js"]
    assert programs
    for block in programs:
        (checkout.folder / "example.js").write_text(block.text)
        command = ["bash", "-euo", "pipefail", "-c", 'eval "$(agentctl config env)"; node example.js']
        done = checkout.run(command)
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        assert "run.completed" in done.stdout
        refused = checkout.run([*command[:-1], 'eval "$(agentctl config env)"; AGENTFLOW_TOKEN=no node example.js'])
        assert refused.returncode == 1
        assert refused.stderr.strip()  # it tells its errors


def test_every_block_says_what_it_is_and_few_are_left_out() -> None:
    left_out = []
    for block in all_blocks():
        assert block.language in (*RUN, *SHOWN), f"{block.place}: say what it is: ```sh, ```yaml, ```text, ..."
        if block.reason:
            assert block.language in RUN, f"{block.place}: is not run anyway"
            left_out.append(block)
    assert len(left_out) <= NOT_RUN_MAX, [f"{block.place}: {block.reason}" for block in left_out]
