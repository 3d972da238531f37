"""`python -m tests.docs.pictures` draws the pictures of traces in docs/images; `make pictures` calls it.

A real stack runs examples, `agentctl` writes its pages and plots, and a real browser shows them. Times differ from run
to run, so a picture is made again only if the code that draws it has changed: the picture holds the digest of that
code. `--all` draws all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from typer.testing import CliRunner

from agentctl.main import app
from tests.support.browser import browser
from tests.support.paths import EXAMPLES, ROOT
from tests.support.stack import RunningStack, running_stack
from tests.support.waiting import PATIENCE_S, until_now

if TYPE_CHECKING:
    from agentflow_sdk import Client

IMAGES: Final = ROOT / "docs/images"
VIEWS: Final = ROOT / "cli/src/agentctl/display"
MARK: Final = b"agentflow-drawn-by"
WIDTH: Final = 1280
DOCUMENT: Final = "vendor_review.md"
FAILING: Final = """
name: letters
dag: {nodes: [{id: read, type: tool, config: {tool_name: file.read, tool_args: {path: no-such-letter.md}},
       policy: {retry: {max_attempts: 1}}}]}
"""


class Desk:
    """A running stack, and the folder in which files are made."""

    def __init__(self, stack: RunningStack, client: Client, folder: Path) -> None:
        self.client, self.folder = client, folder
        self._env = {
            "AGENTFLOW_ENDPOINT": stack.grpc, "AGENTFLOW_TOKEN": stack.dev_key, "AGENTFLOW_CLI_CONFIG": "", "TZ": "UTC",
        }  # fmt: skip

    def run(self, name: str, **inputs: object) -> str:
        """Runs an example to its end, and returns its id."""
        text = (EXAMPLES / f"{name}.yaml").read_text()
        return self.client.workflows.run(text, inputs, timeout=PATIENCE_S).run_id

    def cli(self, *arguments: str) -> int:
        done = CliRunner(env=self._env).invoke(app, list(arguments))
        if done.exit_code and "no runs in that time" not in done.stderr:
            raise SystemExit(f"agentctl {' '.join(arguments)}: {done.stderr}")
        return done.exit_code


class Picture(NamedTuple):
    name: str
    sources: tuple[str, ...]  # below cli/src/agentctl/display
    make: Callable[[Desk], bytes]

    @property
    def path(self) -> Path:
        return IMAGES / f"{self.name}.png"

    @property
    def digest(self) -> str:
        """The digest of the code that draws it."""
        files = sorted(path for pattern in self.sources for path in VIEWS.glob(pattern) if path.is_file())
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()

    @property
    def is_fresh(self) -> bool:
        """True if the picture was drawn by the present code."""
        return self.path.is_file() and drawn_by(self.path.read_bytes()) == self.digest


def trace(desk: Desk) -> bytes:
    run = desk.run("hierarchical_summary", document_key=DOCUMENT, chunk_chars=900)
    file = desk.folder / "trace.html"
    desk.cli("trace", "get", run, "-o", "html", "--events", "--to", str(file))
    return shown(file, 900)


def diff(desk: Desk) -> bytes:
    runs = [desk.run("hierarchical_summary", document_key=DOCUMENT, chunk_chars=size) for size in (1_600, 900)]
    file = desk.folder / "diff.html"
    desk.cli("trace", "diff", *runs, "-o", "html", "--to", str(file))
    return shown(file, 900)


def plot(desk: Desk) -> bytes:
    for number in range(20):
        desk.run("map_reduce", document_key="vendor_review.pdf")
        desk.run("conditional", content="Three boats came in before noon, and two of them carried grain.")
        if number % 4 == 1:
            with contextlib.suppress(Exception):  # the example is one that fails
                desk.client.workflows.run(FAILING, timeout=PATIENCE_S)
        time.sleep(0.5)
    file = desk.folder / "plot.png"
    command = ("trace", "plot", "--since", "1m", "--by", "workflow", "-o", str(file))
    time.sleep(3)  # the tables follow the log
    until_now(lambda: desk.cli(*command) == 0, PATIENCE_S, "no runs in the tables")
    return file.read_bytes()


def shown(file: Path, height: int) -> bytes:
    """Returns what a browser shows of a page."""
    with browser() as opened:
        opened.dark(False)
        opened.open(file)
        return opened.picture(WIDTH, height)


PICTURES: Final = (
    Picture("trace", ("traces/page/*.*", "traces/family.py"), trace),
    Picture("trace-diff", ("traces/diff_page.py",), diff),
    Picture("trace-plot", ("plots/drawing.py",), plot),
)


def drawn_by(png: bytes) -> str:
    """Returns the digest that a picture holds; empty if it holds none."""
    at = png.find(b"tEXt" + MARK + b"\0")
    if at < 0:
        return ""
    (size,) = struct.unpack(">I", png[at - 4 : at])
    return png[at + 5 + len(MARK) : at + 4 + size].decode()


def with_digest(png: bytes, digest: str) -> bytes:
    """Returns a picture that holds a digest."""
    text = b"tEXt" + MARK + b"\0" + digest.encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk + png[end:]


def main() -> None:
    from agentflow_sdk import Client

    old = [picture for picture in PICTURES if "--all" in sys.argv or not picture.is_fresh]
    if not old:
        print("all pictures are up to date")
        return
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-pictures-") as folder,
        running_stack(Path(folder), file_roots=[str(EXAMPLES / "data")]) as stack,
        Client(stack.grpc, stack.dev_key) as client,
    ):
        desk = Desk(stack, client, Path(folder))
        for picture in old:
            picture.path.write_bytes(with_digest(picture.make(desk), picture.digest))
            print(f"{picture.path.relative_to(ROOT)} is drawn")


if __name__ == "__main__":
    main()
