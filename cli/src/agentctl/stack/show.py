"""The output of `up`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from agentctl.stack.layout import StackInfo


def endpoints(info: StackInfo, state: str) -> None:
    """Prints the addresses of a stack."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("gRPC", info.grpc)
    table.add_row("HTTP", info.http)
    table.add_row("NATS", "nats://127.0.0.1:" + info.nats.rsplit(":", 1)[1])
    table.add_row("PostgreSQL", f"{info.postgres['DB_HOST']} (port {info.postgres['DB_PORT']})")
    table.add_row("API key", info.dev_key_file)
    table.add_row("Data", info.data_dir)
    console.print(f"AgentFlow is [bold green]{state}[/] ({info.ready_s:.1f} s, pid {info.pid})")
    console.print(table, soft_wrap=True)


def timings(times: dict[str, float]) -> None:
    """Prints when each part was ready."""
    console = Console(stderr=True)
    for name, seconds in sorted(times.items(), key=lambda item: item[1]):
        console.print(f"  {seconds:6.2f} s  {name}")


def failure(message: str) -> None:
    """Prints an error."""
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
