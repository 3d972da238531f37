"""`agentctl demo` (`make run`): the whole platform on one document, in one command."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentctl import session
from agentctl.display import render
from agentctl.display.output import counts, duration, money, note, stdout, table
from agentctl.failures import FAILED, INTERRUPTED, CliError
from agentflow_sdk.transport import connection

if TYPE_CHECKING:
    from rich.console import Console

    from agentflow_sdk import Client, Run

EXAMPLE: Final = "document_analysis.yaml"
DOCUMENT: Final = "data/vendor_review.md"
FILE_BYTES_MAX: Final = 32 * 1024 * 1024
BLANK_BYTES_MAX: Final = 64 * 1024  # a small file is looked at before a whole stack is started for it
RUN_S_MAX: Final = 600.0
_BINARY: Final = "takes text, Markdown, HTML and PDF"


def run(doc: Path | None, data_dir: Path, *, keep: bool) -> int:
    """Returns the exit code: 0 only if the run completed. The document is checked before anything starts."""
    began = time.monotonic()
    examples = find_examples()
    document = check_document(doc or examples / DOCUMENT)
    definition = (examples / EXAMPLE).read_text("utf-8")

    from agentctl import stack

    running = stack.find(data_dir)
    if running is None:
        note("starting the stack ...")
        info = stack.start(stack.remembered(stack.Options(data_dir=data_dir), frozenset()))
        note(f"the stack is ready at {info.grpc} after {duration((time.monotonic() - began) * 1000)}")
    else:
        note(f"the stack runs already, at {running.grpc}")
    copy = place(document, data_dir / "files" / "demo" / str(os.getpid()))
    found = connection.read_stack(data_dir)  # whatever flags and environment name, this stack is meant
    target = connection.Target(str(found["grpc"]), connection.stack_token(found), "", {})
    try:
        with session.open_client(target) as client:
            code = _show(client, definition, copy, data_dir, examples / DOCUMENT == document)
    except KeyboardInterrupt:
        note("\ninterrupted; the run goes on in the stack")
        code = INTERRUPTED  # and needs its document
    else:
        _remove(copy)
    finally:
        if not keep:
            stack.down(data_dir)
    if keep and code == 0:
        note(f"\nall of it took {duration((time.monotonic() - began) * 1000)}")
    return code


def find_examples() -> Path:
    """Returns the folder `examples`, above the current folder or above this file (in a checkout)."""
    here = Path(__file__).resolve()
    for base in (Path.cwd(), *Path.cwd().parents, *here.parents):
        if (base / "examples" / EXAMPLE).is_file():
            return base / "examples"
    raise CliError(f"examples/{EXAMPLE} was not found", fix="run this in a checkout of AgentFlow")


def check_document(path: Path) -> Path:
    """Returns the absolute path of a document. Raises CliError if no tool can read it."""
    file = path.expanduser().absolute()
    if not file.exists():
        raise CliError(f"{path}: there is no such file", fix="name a text, Markdown, HTML or PDF file")
    if not file.is_file():
        raise CliError(f"{path}: not a file", fix="name a text, Markdown, HTML or PDF file")
    size = file.stat().st_size
    if size == 0:
        raise CliError(f"{path}: the file is empty", fix="name a document with text in it")
    if size <= BLANK_BYTES_MAX and not file.read_bytes().strip():
        raise CliError(f"{path}: the file contains only blanks", fix="name a document with text in it")
    if size > FILE_BYTES_MAX:
        raise CliError(f"{path}: {size / 1024**2:.0f} MB, the limit is {FILE_BYTES_MAX // 1024**2} MB", fix="split it")
    with file.open("rb") as stream:
        head = stream.read(4096)
    marks = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # UTF-16 and UTF-32 text holds zero bytes
    if head.startswith(b"%PDF-") or head.startswith(marks):
        return file
    if file.suffix.lower() == ".pdf":
        raise CliError(f"{path}: named .pdf, but it is not a PDF file", fix="export it again as PDF")
    if b"\x00" in head:
        raise CliError(f"{path}: a binary file; this demo {_BINARY}", fix="export it as PDF or text first")
    return file


def place(document: Path, folder: Path) -> Path:
    """Copies a document into the stack's file root, so that the roots stay narrow. Returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / document.name
    copy.write_bytes(document.read_bytes())
    return copy


def _remove(copy: Path) -> None:
    """Removes the copy after the run, so that nothing but tokens stays of the document."""
    copy.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        copy.parent.rmdir()


def _show(client: Client, definition: str, document: Path, data_dir: Path, shipped: bool) -> int:
    import yaml

    from agentctl.display import live

    registration = client.workflows.register(definition)
    submission = client.workflows.submit(
        f"{registration.name}@{registration.version}", {"document_key": str(document)}, tags={"from": "demo"}
    )
    note(f"{registration.name}@{registration.version} reads {document.name}: {submission.run_id}\n")
    view = live.follow(client, submission.run_id)
    result = client.workflows.wait(submission.run_id, timeout=RUN_S_MAX)
    console = stdout()
    if result.status != "completed":
        why = f"{result.error.type}: {result.error.message}" if result.error else view.error
        _heading(console, f"The run {result.status.value}")
        console.print(why or "no reason was given")
        note(f"\nlook closer:  agentctl trace get {result.run_id}")
        return FAILED
    _heading(console, "Result")
    console.print(render.output(result.output, list((yaml.safe_load(definition) or {}).get("outputs") or ())))
    _cost(console, result)
    _heading(console, "Redacted before anything was stored or sent to a model")
    console.print(counts(result.redactions) if result.redactions else "nothing sensitive was found")
    _timeline(console, client, result)
    _next(console, result.run_id, shipped, data_dir)
    return 0


def _heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")


def _cost(console: Console, result: Run) -> None:
    """Prints the cost, and where it comes from: the models that answered, and what they used."""
    tokens = f"{result.input_tokens:,} tokens in, {result.output_tokens:,} out"
    _heading(console, f"Cost: {money(result.cost_nano_usd)} for {tokens}")
    steps = [step for step in result.steps if step.provider]
    rows = [(step.step, f"{step.provider}/{step.model}", step.prompt, money(step.cost_nano_usd)) for step in steps]
    console.print(table(("STEP", "ROUTE", "PROMPT", "COST"), rows, right=("COST",)))
    if steps and all(step.provider == "local" for step in steps):
        console.print("price source: nominal prices of the `local` models, which run here, offline, so no one is paid.")
        console.print("Set OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY or COHERE_API_KEY before `agentctl up`,")
        console.print("and calls may go to their models.")
    else:
        console.print("price source: genai-prices, for the model that answered; those of `local` are nominal")


def _timeline(console: Console, client: Client, result: Run) -> None:
    _heading(console, f"Timeline: {duration(result.duration_ms)}")
    try:
        console.print(render.timeline(client.traces.get(result.run_id)))
    except Exception as error:
        # the run is what counts: a trace that is late must not turn a completed run into a failure
        note(f"the trace is not there yet ({error}); see: agentctl trace get {result.run_id}")


def _next(console: Console, run_id: str, shipped: bool, data_dir: Path) -> None:
    _heading(console, f"Run {run_id}. Try next:")
    if shutil.which("agentctl") is None:
        activate = Path(sys.prefix) / "bin" / "activate"
        near = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
        console.print(f"  . {near}")
    if data_dir != connection.data_dir():
        console.print(f"  export AGENTFLOW_DATA_DIR={data_dir}")
    lines = [
        (f"agentctl workflow get {run_id} --reveal --reason demo", "the originals behind the tokens (audited)"),
        (f"agentctl trace get {run_id} --output timeline", "what happened, step by step"),
        ("make run DOC=your.pdf" if shipped else "make run", "a document of yours" if shipped else "the shipped one"),
        (f"agentctl workflow submit examples/{EXAMPLE} --help", "budgets, tags, idempotency"),
        ("agentctl status --verbose", "the processes behind it"),
        ("agentctl down", "stop the stack; its data stays"),
    ]
    width = max(len(command) for command, _ in lines)
    beside = width + 4 + max(len(why) for _, why in lines) <= console.width
    for command, why in lines:
        console.print(f"  {command:<{width}}  {why}" if beside else f"  {command}\n      {why}", soft_wrap=True)
