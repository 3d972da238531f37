"""Installs each peer into a separate environment below `.build/peers`, or says why it can't.

Versions are pinned, so that a figure can be measured again. Raise them here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".build" / "peers"

PYTHON = {
    "restate": ("restate-sdk==1.3.0", "granian==2.8.7", "aiohttp==3.14.5", "uvloop==0.23.0"),
    "dbos": ("dbos==3.4.0", "uvloop==0.23.0"),
    "langgraph": (
        "langgraph==1.2.22",
        "langgraph-checkpoint-postgres==3.2.0",
        "psycopg[binary,pool]==3.3.9",
        "uvloop==0.23.0",
    ),
    "temporal": ("temporalio==1.35.0", "uvloop==0.23.0"),
}
RESTATE = "@restatedev/restate-server@1.7.12"
# newer tags of the command line can't be built from the module proxy alone: they replace a module by a folder
TEMPORAL = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
INSTALL_S_MAX = 300.0
BUILD_S_MAX = 1800.0


class CannotInstallError(Exception):
    """A peer can't be installed. The message says what failed, and why."""


def python(engine: str) -> Path:
    """Returns the interpreter that has the engine's SDK."""
    folder = ENVIRONMENTS / engine
    found = folder / "bin" / "python"
    stamp = folder / "installed.txt"
    wanted = "\n".join(PYTHON[engine])
    if found.exists() and stamp.exists() and stamp.read_text() == wanted:
        return found
    _say(engine, f"installing {', '.join(PYTHON[engine])}")
    uv = [sys.executable, "-m", "uv"]
    _run([*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)], INSTALL_S_MAX)
    _run([*uv, "pip", "install", "--quiet", "--python", str(found), *PYTHON[engine]], INSTALL_S_MAX)
    stamp.write_text(wanted)
    return found


def restate_server() -> Path:
    """Returns the server's binary, which npm installs."""
    folder = ENVIRONMENTS / "restate-server" / RESTATE.rsplit("@", 1)[1]
    pattern = "node_modules/@restatedev/restate-server-*/bin/restate-server"
    found = next(folder.glob(pattern), None)
    if found is None:
        npm = _tool("npm")
        _say("restate", f"installing {RESTATE}")
        folder.mkdir(parents=True, exist_ok=True)
        flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
        _run([npm, "install", *flags, "--prefix", str(folder), RESTATE], INSTALL_S_MAX)
        found = next(folder.glob(pattern), None)
    if found is None:
        raise CannotInstallError(f"{RESTATE} has no server for this platform")
    _run([str(found), "--version"], INSTALL_S_MAX)
    return found


def temporal_server() -> Path:
    """Returns Temporal's command line with its dev server, built from source."""
    folder = ENVIRONMENTS / "temporal-server" / TEMPORAL.rsplit("@", 1)[1]
    found = folder / "temporal"
    if not found.exists():
        go = _tool("go")
        _say("temporal", f"building {TEMPORAL}: several minutes")
        env = {"GOBIN": str(folder), "GOPATH": str(ENVIRONMENTS / "go"), "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
        _run([go, "install", TEMPORAL], BUILD_S_MAX, env)
    _run([str(found), "--version"], INSTALL_S_MAX)
    return found


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotInstallError(f"there is no `{name}` on PATH")
    return found


def _run(command: list[str], timeout_s: float, env: dict[str, str] | None = None) -> None:
    label = " ".join(Path(part).name if part.startswith("/") else part for part in command)
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, **(env or {})},
            cwd=ENVIRONMENTS.parent if ENVIRONMENTS.parent.exists() else ROOT,
        )
    except OSError as error:
        raise CannotInstallError(f"`{label}`: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"`{label}` took longer than {timeout_s:g} s") from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise CannotInstallError(f"`{label}` failed: {' | '.join(why)}")


def _say(engine: str, what: str) -> None:
    print(f"{engine}: {what}", file=sys.stderr)
