"""Records a real `make run` on a terminal and draws it as docs/images/make-run.svg (`make picture`).

The program runs on a pseudo terminal in a temporary folder, so it shows what a person sees there. Nothing in the
picture is written by hand. Two things are left out: the middle of the long summary, where a grey line says how many
lines are missing, and the list of next commands at the end.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURE: Final = Path(__file__).with_name("make-run.svg")
COMMAND: Final = ("agentctl", "demo", "--stop")  # what `make run` runs
COLUMNS: Final = 96
ROWS: Final = 60
SUMMARY_LINES_MAX: Final = 5
THE_END: Final = "Run run_"  # the list of next commands begins with it
_ESCAPE: Final = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|(\r?\n)|\r")
_STYLE: Final = re.compile(r"\x1b\[[\d;]*m")

THEME: Final = TerminalTheme(
    (22, 27, 34),
    (216, 222, 233),
    [
        (22, 27, 34),
        (248, 113, 113),
        (86, 211, 100),
        (227, 179, 65),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (216, 222, 233),
    ],
    [
        (139, 148, 158),
        (255, 161, 152),
        (126, 231, 135),
        (242, 204, 96),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (255, 255, 255),
    ],
)
# Rich's own format loads a font from the web; a picture in a README may not.
SVG: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>make run: four agents read a document</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def run(command: tuple[str, ...], folder: Path) -> str:
    """Runs a command on a pseudo terminal and returns all that it wrote. Exits with its code if it fails."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        home = {key: value for key, value in os.environ.items() if not key.startswith("AGENTFLOW_")}
        program = Path(sys.executable).with_name(command[0])
        os.execve(program, command, {**home, "TERM": "xterm-256color", "AGENTFLOW_CLI_CONFIG": os.devnull})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # so a pseudo terminal says that the other side is closed
            break
        if not part:
            break
        written += part
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise SystemExit(f"{' '.join(command)} ended with code {code}:\n{written.decode()}")
    return written.decode()


def screen(written: str) -> list[str]:
    """Returns the lines that stay on the screen, with their styles: a live view is drawn over itself."""
    lines, row, at = [""], 0, 0
    for match in _ESCAPE.finditer(written):
        lines[row] += written[at : match.start()]
        at = match.end()
        number, letter, newline = match.groups()
        if letter == "m":
            lines[row] += match[0]
        elif letter == "A":
            row = max(0, row - int(number or 1))
        elif letter == "K":
            lines[row] = ""
        elif newline:
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
    lines[row] += written[at:]
    return [line.rstrip() for line in lines]


def shortened(lines: list[str]) -> list[str]:
    """Returns the lines without the middle of the summary, and without what comes after the result."""
    plain = [_STYLE.sub("", line) for line in lines]
    end = next(number for number, line in enumerate(plain) if line.startswith(THE_END))
    first = plain.index("summary:") + 1
    last = next(number for number in range(first, end) if not plain[number].startswith("  "))
    kept = first + SUMMARY_LINES_MAX
    missing = [f"\x1b[2m  ... {last - kept} more lines ...\x1b[0m"] if last > kept else []
    return [*lines[: min(kept, last)], *missing, *lines[last:end]]


def draw(lines: list[str]) -> str:
    """Returns the picture as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\x1b[32m$\x1b[0m \x1b[1mmake run\x1b[0m"))
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    picture = console.export_svg(title="make run", theme=THEME, code_format=SVG, unique_id="run")
    return "\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="agentflow-") as folder:
        lines = shortened(screen(run(COMMAND, Path(folder))))
    while not lines[-1]:
        lines.pop()
    PICTURE.write_text(draw(lines))
    sys.stderr.write(f"{PICTURE} shows {len(lines)} lines\n")


if __name__ == "__main__":
    main()
