"""`make setup` shows a few lines of progress, and fails when the installation does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = 180
UV = """#!/bin/sh
case "$*" in
  *requirements.lock*)
    echo "Resolved {n} packages in 5ms" >&2
    i=0; while [ $i -lt {n} ]; do echo " + package-$i==1.0" >&2; i=$((i + 1)); done
    echo "Installed {n} packages in 9ms" >&2
    exit {code};;
esac
"""


def setup(folder: Path, code: int) -> subprocess.CompletedProcess[str]:
    """`make setup` in a folder whose virtual environment has an installer that only talks like the real one."""
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "requirements.lock", folder)
    (folder / "pyproject.toml").touch()
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "uv").write_text(UV.format(n=PACKAGES, code=code))
    (tools / "python").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    for member in ("libs/common", "proto", "sdk/python", "cli"):
        (folder / member).mkdir(parents=True)
        (folder / member / "pyproject.toml").touch()
    command = ["make", "setup", f"PYTHON={sys.executable}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # not a child
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_usage_20_the_first_setup_prints_no_line_for_each_package(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = setup(tmp_path, 0)
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert "locked packages" in lines[0]
    assert f"Installed {PACKAGES} packages" in done.stdout
    assert len(lines) < 6
    assert (tmp_path / ".venv/.installed").exists()


def test_usage_20_an_installation_that_fails_fails_the_setup(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = setup(tmp_path, 1)
    assert done.returncode != 0
    assert not (tmp_path / ".venv/.installed").exists()
