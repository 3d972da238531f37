"""Every shipped configuration of NATS, as the server itself reads it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentflow_common.embedded.nats import NatsServer, nats_binary
from tests.contract.manifests import DEPLOY, kustomized
from tests.support.waiting import PATIENCE_S, until_now

WORD = "p" + "w" * 3
SECOND_NS = 1_000_000_000


def shipped(where: str) -> tuple[str, dict[str, str]]:
    """Returns the configuration's text and the variables that the manifests give its server."""
    if where == "compose":
        nats = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["nats"]
        env = {
            name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", str(value))  # the default of compose
            for name, value in nats["environment"].items()
        }
        return (DEPLOY / "docker" / "nats.conf").read_text(), env
    items = kustomized(where)
    (server,) = (one for one in items if one["kind"] == "StatefulSet" and one["metadata"]["name"] == "nats")
    (config,) = (one for one in items if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("nats"))
    (container,) = server["spec"]["template"]["spec"]["containers"]
    return config["data"]["nats.conf"], {one["name"]: str(one.get("value", "")) for one in container["env"]}


@contextlib.contextmanager
def served(text: str, env: dict[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    """Yields `/jsz?config=true` of a server with this configuration: only its ports and its folder are changed."""
    for old, new in (
        ("port: 4222", "port: -1"),
        ("http: 8222", 'http: "127.0.0.1:-1"'),
        ("port: 6222", "port: -1"),
        ("/data", json.dumps(str(folder / "data"))),
    ):
        text = text.replace(old, new)
    config = folder / "nats.conf"
    config.write_text(f"{text}\nports_file_dir: {json.dumps(str(folder))}\n")
    secrets = {"NATS_PASSWORD": WORD, "NATS_ROUTE_PASSWORD": WORD, "POD_NAME": "nats-0"}
    expanded = {name: re.sub(r"\$\(\w+\)", WORD, value) for name, value in env.items()}
    checked = subprocess.run(
        [nats_binary(), "-t", "-c", str(config)], env={**os.environ, **expanded, **secrets},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [nats_binary(), "-c", str(config)], env={**os.environ, **expanded, **secrets}, stdout=log, stderr=log
        )
    try:
        ports = folder / f"nats-server_{process.pid}.ports"
        until_now(lambda: ports.exists() and ports.read_text().endswith("}"))
        (url,) = json.loads(ports.read_text())["monitoring"]
        with urllib.request.urlopen(f"{url}/jsz?config=true", timeout=PATIENCE_S) as answer:
            yield json.load(answer)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", ["compose", "k8s/base", "k8s/overlays/dev", "k8s/overlays/prod"])
def test_cluster_02_the_server_reads_the_interval_of_syncs_that_is_meant(where: str, tmp_path: Path) -> None:
    text, env = shipped(where)
    with served(text, env, tmp_path) as told:
        config = told["config"]
        if where.endswith("prod"):
            assert config["sync_always"] is True
        else:
            assert config["sync_interval"] == 120 * SECOND_NS
            assert not config.get("sync_always")


def test_cluster_02_the_embedded_server_syncs_as_it_says(tmp_path: Path) -> None:
    for durability in ("default", "fsync"):
        server = NatsServer(tmp_path / durability, durability=durability, http_port=-1)
        with server:
            ports = json.loads((server.folder / f"nats-server_{server.pid}.ports").read_text())
            with urllib.request.urlopen(f"{ports['monitoring'][0]}/jsz?config=true", timeout=PATIENCE_S) as answer:
                config = json.load(answer)["config"]
        assert config["sync_interval"] == 120 * SECOND_NS
        assert bool(config.get("sync_always")) is (durability == "fsync")
        assert config["max_memory"] == 256 * 2**20


def test_cluster_02_no_variable_gives_a_duration_that_would_be_read_as_a_number() -> None:
    """`2m` in a variable is 2,000,000: minutes and hours are spelled in seconds."""
    for where in ("compose", "k8s/base", "k8s/overlays/dev", "k8s/overlays/prod"):
        text, env = shipped(where)
        for name in re.findall(r"\w*(?:interval|duration|period|timeout|age|ttl)\w*:\s*\$(\w+)", text):
            assert re.fullmatch(r"\d+s|always", env[name]), f"{where}: {name}={env[name]}"


@pytest.mark.parametrize("where", ["k8s/base", "k8s/overlays/dev", "k8s/overlays/prod"])
def test_cluster_10_the_bounds_of_storage_fit_the_volume_and_the_memory(where: str, tmp_path: Path) -> None:
    text, env = shipped(where)
    (server,) = (one for one in kustomized(where) if one["kind"] == "StatefulSet" and one["metadata"]["name"] == "nats")
    (claim,) = server["spec"]["volumeClaimTemplates"]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    volume = size(claim["spec"]["resources"]["requests"]["storage"])
    memory = size(container["resources"]["limits"]["memory"])
    with served(text, env, tmp_path) as told:
        assert told["config"]["max_storage"] <= volume * 0.85
        assert told["config"]["max_memory"] <= memory / 4
    assert size(env["GOMEMLIMIT"]) < memory


def test_cluster_10_compose_bounds_the_memory_of_streams(tmp_path: Path) -> None:
    with served(*shipped("compose"), tmp_path) as told:
        assert told["config"]["max_memory"] == 256 * 2**20


def size(text: str) -> int:
    """Bytes of a Kubernetes or Go quantity: 2Gi, 512Mi, 1600MiB."""
    found = re.fullmatch(r"(\d+)([KMGT])iB?", text)
    assert found is not None, text
    return int(found[1]) << (10 * ("KMGT".index(found[2]) + 1))
