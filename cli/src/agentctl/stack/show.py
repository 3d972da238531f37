"""The output of `up`."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agentctl.stack.layout import StackInfo, default_data_dir


def endpoints(info: StackInfo, state: str) -> None:
    """Prints the addresses of a stack."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("gRPC", info.grpc)
    table.add_row("HTTP", info.http)
    table.add_row("NATS", "nats://127.0.0.1:" + info.nats.rsplit(":", 1)[1])
    table.add_row("PostgreSQL", f"{info.postgres['DB_HOST']} (port {info.postgres['DB_PORT']})")
    for name, url in info.monitors.items():
        table.add_row(name.capitalize(), url)
    table.add_row("API key", info.dev_key_file)
    table.add_row("Data", info.data_dir)
    console.print(f"AgentFlow is [bold green]{state}[/] ({info.ready_s:.1f} s, pid {info.pid})")
    console.print(table, soft_wrap=True)
    if Path(info.data_dir) != default_data_dir():
        found = f"other commands find it with: export AGENTFLOW_DATA_DIR={shlex.quote(info.data_dir)}"
        console.print(found, markup=False, highlight=False, soft_wrap=True)


def timings(times: dict[str, float]) -> None:
    """Prints when each part was ready."""
    console = Console(stderr=True)
    for name, seconds in sorted(times.items(), key=lambda item: item[1]):
        console.print(f"  {seconds:6.2f} s  {name}")


def note(message: str) -> None:
    """Prints a remark."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def failure(message: str) -> None:
    """Prints an error."""
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
