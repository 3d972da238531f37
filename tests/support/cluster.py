"""A JetStream cluster of nats-server processes on this machine: for fault tests and for benchmarks with replicas.

    with NatsCluster(folder) as cluster:
        connect(cluster.url)                    # all nodes; services take it as NATS_URL with AGENTFLOW_REPLICAS=3
        connect(cluster.nodes[0].url)           # one of them: it tells its clients the addresses of the others
        cluster.nodes[0].kill(); cluster.nodes[0].start(); cluster.nodes[1].pause(); cluster.nodes[1].resume()

A node that was killed starts again on its ports and its store. With `routes`, the nodes reach each other by addresses
of the caller's choosing (a proxy that can be cut, see support/links.py) and tell nobody their own. With `password`,
clients need it and the user USER; they stand in the URLs.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from agentflow_common.embedded.nats import NatsServer

HOST: Final = "127.0.0.1"
USER: Final = "agentflow"
Routes = Callable[[int], Sequence[str]]


class ClusterNode(NatsServer):
    """One server of a cluster. routes: `host:port` of the others. advertise: its address for them; "" is its own."""

    def __init__(
        self,
        store_dir: Path,
        cluster: str,
        server_name: str,
        cluster_port: int,
        routes: Sequence[str],
        *,
        advertise: str = "",
        durability: Literal["default", "fsync"] = "default",
        password: str = "",
    ) -> None:
        super().__init__(store_dir, durability=durability, staged=False)  # with replicas the server does so itself
        self.password = password
        self.cluster = cluster
        self.server_name = server_name
        self.cluster_port = cluster_port
        self.routes = list(routes)
        self.advertise = advertise

    @property
    def url(self) -> str:
        credentials = f"{USER}:{self.password}@" if self.password else ""
        return f"nats://{credentials}{HOST}:{self.port}"

    def _config(self) -> str:
        routes = ", ".join(json.dumps(f"nats-route://{route}") for route in self.routes)
        lines = [
            f"server_name: {json.dumps(self.server_name)}",
            "cluster {",
            f"  name: {json.dumps(self.cluster)}",
            f'  listen: "{HOST}:{self.cluster_port}"',
            f"  routes: [{routes}]",
        ]
        if self.advertise:
            lines += [f"  advertise: {json.dumps(self.advertise)}", "  no_advertise: true"]
        lines += ["}", "lame_duck_duration: 30s", "lame_duck_grace_period: 300ms"]
        if self.password:
            lines.append(f"authorization {{ user: {USER}, password: {json.dumps(self.password)} }}")
        return super()._config() + "\n".join(lines) + "\n"

    def retire(self) -> None:
        """A graceful stop: its clients are asked to go to other servers, a few at a time, then it ends."""
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR2)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """SIGSTOP: it hangs, its connections stay."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.resume()
        super().stop()


class NatsCluster:
    """`size` nodes in `folder`. routes: for node i the addresses of the others; else they meet directly."""

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        durability: Literal["default", "fsync"] = "default",
        routes: Routes | None = None,
        advertise: str = "",
        password: str = "",
    ) -> None:
        ports = free_ports(size)
        self.nodes = [
            ClusterNode(
                Path(folder) / f"n{i}",
                "agentflow",
                f"n{i}",
                ports[i],
                routes(i) if routes else [f"{HOST}:{port}" for j, port in enumerate(ports) if j != i],
                advertise=advertise,
                durability=durability,
                password=password,
            )
            for i in range(size)
        ]

    @property
    def url(self) -> str:
        """The nodes' URLs with commas between them."""
        return ",".join(node.url for node in self.nodes)

    def start(self) -> Self:
        """Starts all. Streams can be made once there is a leader, some seconds later: `ensure_streams` waits for it."""
        for node in self.nodes:
            node.start()
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.resume()
        for node in self.nodes:
            node.kill()  # nobody needs the store after the cluster: a tidy end of each would take seconds

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Held together until all are known, so they differ."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((HOST, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports
