"""`python -m agentctl.stack.backup [DATA_DIR] [TARGET]`: one archive of everything that a stack knows.

The three stores are copied while nothing writes, so the copy is of one moment: a running stack is stopped for the time
of the copy and started again. To restore, unpack the archive where no stack runs and name it as the data dir.
"""

from __future__ import annotations

import datetime
import os
import sys
import tarfile
from pathlib import Path

from agentctl.stack import control
from agentctl.stack.layout import Layout, Lock, default_data_dir, options_of
from agentflow_common.embedded import StackError

_LEFT_OUT = {"run", "logs", "stack.lock", "stack.json"}


def backup(data_dir: Path, target: Path | None = None) -> Path:
    """Writes `<data_dir>-<UTC time>.tar.gz` (0600: it holds the keys) beside the data dir, or `target`."""
    layout = Layout(data_dir)
    if not (layout.nats / "jetstream").is_dir():
        raise StackError(f"{layout.root} holds no stack's data; name the folder that `agentctl up --data-dir` used")
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    archive = target or layout.root.with_name(f"{layout.root.name.lstrip('.')}-{stamp}.tar.gz")
    running = control.find(layout.root)
    if running is not None:
        control.down(layout.root)
    lock = Lock(layout.lock)
    if not lock.take():
        raise StackError(f"a stack is starting in {layout.root}; try again when it is ready")
    try:
        partial = archive.with_name(archive.name + ".part")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            for entry in sorted(layout.root.iterdir()):
                if entry.name not in _LEFT_OUT:
                    tar.add(entry, arcname=f"{layout.root.name}/{entry.name}")
        partial.replace(archive)
    finally:
        lock.release()
        if running is not None:
            control.start(options_of(layout.options_json.read_bytes()))
    return archive


def main() -> int:
    arguments = [Path(item) for item in sys.argv[1:]]
    try:
        archive = backup(arguments[0] if arguments else default_data_dir(), *arguments[1:2])
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{archive} ({archive.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
