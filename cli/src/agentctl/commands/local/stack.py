"""`agentctl up|down|status|demo`: the embedded stack."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from agentctl import session
from agentctl.display.output import Format, Output, duration, emit, note, stdout, table
from agentctl.failures import FAILED, UNREACHABLE, CliError
from agentctl.options import DataDir, flag, option
from agentflow_sdk.transport import connection

T = TypeVar("T")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(up)
    app.command()(down)
    app.command()(session.remote(status))
    app.command()(demo)


def _port(help: str, *, show_default: bool = True) -> Any:
    return option(help, show_default=show_default, min=0, max=65_535)


def up(
    data_dir: DataDir = None,
    detach: Annotated[bool, flag("Return when everything is ready.", "--detach", "-d")] = False,
    port: Annotated[int, _port("Of the gRPC API; 0: the last one used, or a free one.")] = 0,
    http_port: Annotated[int, _port("Of the gateway's health and metrics; 0: the last one used, or a free one.")] = 0,
    nats_port: Annotated[int, _port("Of NATS; 0: the last one used, or a free one.")] = 0,
    postgres_port: Annotated[int | None, _port("Of PostgreSQL; 0: a Unix socket only.", show_default=False)] = None,
    load: Annotated[
        list[str] | None, typer.Option(help="A module or .py file with tools and functions for the worker; '': none.")
    ] = None,
    file_root: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that file tools may use; none: the current one and DATA_DIR/files."),
    ] = None,
    fsync: Annotated[
        bool | None, option("Sync the log to disk before every acknowledgement.", "--fsync/--no-fsync")
    ] = None,
    observability: Annotated[
        bool | None,
        option(
            "Start Prometheus beside the stack, and Grafana where it is installed.",
            "--observability/--no-observability",
        ),
    ] = None,
    restart: Annotated[
        bool,
        flag("Restart a stack that runs already: with these settings, and with files that were changed.", "--restart"),
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds that the stack may take to become ready.", min=1, max=3600)
    ] = 60.0,
    verbose: Annotated[bool, flag("Show every part as it starts.", "--verbose", "-v")] = False,
) -> None:
    """Start NATS, PostgreSQL and the services; without --detach, until Ctrl-C.

    Options that are left out keep the value of the last start: ports, --load, --file-root, --fsync,
    --observability.
    """
    from agentctl import stack

    options = stack.Options(
        data_dir=connection.data_dir(data_dir),
        detach=detach,
        grpc_port=port,
        http_port=http_port,
        nats_port=nats_port,
        postgres_port=postgres_port or 0,
        durability="fsync" if fsync else "default",
        load=[_loadable(item) for item in load or () if item],
        file_roots=[_folder(root) for root in file_root or ()],
        observability=bool(observability),
        ready_timeout_s=timeout,
        verbose=verbose,
    )
    named = {
        "load": load,
        "file_roots": file_root,
        "durability": fsync,
        "postgres_port": postgres_port,
        "observability": observability,
    }
    given = frozenset(name for name, value in named.items() if value is not None)
    code = guarded(lambda: stack.up(options, given, restart=restart))
    if code:
        raise typer.Exit(code)


def _loadable(item: str) -> str:
    """Returns what --load names; the path of a .py file as an absolute one, because services run elsewhere."""
    if not item.endswith(".py"):
        return item
    file = Path(item).expanduser().absolute()
    if not file.is_file():
        raise CliError(f"--load {item}: there is no such file", fix="name a .py file, or a module that can be imported")
    return str(file)


def _folder(root: Path) -> str:
    folder = root.expanduser().absolute()
    if not folder.is_dir():
        raise CliError(f"--file-root {root}: there is no such folder", fix="name an existing folder")
    return str(folder)


def guarded(action: Callable[[], T]) -> T:
    """Returns what the action returns. An error of the stack becomes one of the command line."""
    from agentctl.stack import StackError

    try:
        return action()
    except StackError as error:
        raise CliError(str(error), exit_code=FAILED) from error


def down(data_dir: DataDir = None) -> None:
    """Stop the stack cleanly; data stays."""
    from agentctl import stack

    folder = connection.data_dir(data_dir)
    began = time.monotonic()
    if guarded(lambda: stack.down(folder)):
        note(f"stopped in {duration((time.monotonic() - began) * 1000)}; data stays in {folder}")
    else:
        note(f"nothing runs in {folder}")


def status(
    data_dir: DataDir = None,
    verbose: Annotated[bool, flag("Also endpoints, processes and memory.", "--verbose", "-v")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the health of the stack's parts, or of the endpoint that is configured. Exit code 0: all ready."""
    from agentctl import stack

    folder = connection.data_dir(data_dir)
    parts = guarded(lambda: stack.status(folder))
    if not parts:
        _remote_status(folder, output)
        return
    info = connection.read_stack(folder)
    ready = all(part.state == "ready" for part in parts)
    import msgspec

    data = {
        "ready": ready,
        "data_dir": str(folder),
        "endpoint": info.get("grpc", ""),
        "http": info.get("http", ""),
        "parts": [msgspec.to_builtins(part) for part in parts],
    }
    emit(data, output, lambda: _parts(parts, info, folder, verbose))
    if not ready:
        raise typer.Exit(FAILED)


def _parts(parts: Any, info: dict[str, Any], folder: Path, verbose: bool) -> None:
    from rich.text import Text

    styles = {"ready": "green", "starting": "yellow", "restarting": "yellow"}
    columns = ["PART", "STATE", "UPTIME", "RESTARTS", *(("PID", "PORT", "MEMORY") if verbose else ()), "DETAIL"]
    rows = []
    for part in parts:
        more = (str(part.pid or ""), str(part.port or ""), f"{part.rss_bytes / 1024**2:.0f} MiB")
        uptime = duration(part.uptime_s * 1000) if part.uptime_s else ""
        state = Text(part.state, style=styles.get(part.state, "red"))
        rows.append((part.name, state, uptime, str(part.restarts or ""), *(more if verbose else ()), part.detail))
    console = stdout()
    console.print(table(columns, rows, right=("UPTIME", "RESTARTS", "PID", "PORT", "MEMORY")))
    if info.get("grpc"):
        console.print(f"\ngRPC {info['grpc']}   data {folder}")
    if verbose and info:
        console.print(f"HTTP {info.get('http', '')}   API key {info.get('dev_key_file', '')}   logs {folder / 'logs'}")


def _remote_status(folder: Path, output: Format) -> None:
    """Shows the health of the configured endpoint, by gRPC's standard health service. It needs no key."""
    target = session.resolve()
    if not target.endpoint or target.sources.get("endpoint") == connection.EMBEDDED:
        raise CliError(f"no stack runs in {folder}", fix="start one with `agentctl up --detach`", exit_code=UNREACHABLE)
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from agentflow_sdk.errors import from_rpc_error
    from agentflow_sdk.transport import channel

    endpoint = channel.parse_endpoint(target.endpoint)
    with channel.open_channel(grpc, endpoint) as opened:
        try:
            reply = health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError as error:
            raise from_rpc_error(error, str(endpoint)) from None
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status).lower()
    data = {"ready": state == "serving", "endpoint": str(endpoint), "state": state}
    emit(data, output, lambda: f"{endpoint}: {state}")
    if state != "serving":
        raise typer.Exit(FAILED)


def demo(
    doc: Annotated[Path | None, option("A text, Markdown, HTML or PDF file of yours.")] = None,
    data_dir: DataDir = None,
    keep: Annotated[bool, typer.Option("--keep/--stop", help="Leave the stack running, or stop it at the end.")] = True,
) -> None:
    """Start the stack if needed, have agents read a document, and show result, cost, redactions and timeline."""
    from agentctl import demo as show

    raise typer.Exit(guarded(lambda: show.run(doc, connection.data_dir(data_dir), keep=keep)))
