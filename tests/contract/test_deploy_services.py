"""What the manifests set is what the services read, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from agentflow_cost.settings import CostSettings
from agentflow_gateway.settings import GatewaySettings
from agentflow_prompt.settings import PromptSettings
from agentflow_scheduler.settings import SchedulerSettings
from agentflow_security.settings import SecuritySettings
from agentflow_trace.settings import TraceSettings
from agentflow_worker.settings import WorkerSettings
from agentflow_worker.tools.confine import resolve
from tests.contract.manifests import DEPLOY, Manifest, kustomized
from tests.support.paths import ROOT

DOCUMENTS = ("examples/data/vendor_review.md", "examples/data/vendor_review.pdf", "examples/data/orders.py")
SETTINGS: dict[str, type[BaseSettings]] = {
    "gateway": GatewaySettings, "scheduler": SchedulerSettings, "worker": WorkerSettings, "cost": CostSettings,
    "security": SecuritySettings, "prompt": PromptSettings, "trace": TraceSettings,
}  # fmt: skip


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def variables(kind: type[BaseSettings]) -> set[str]:
    """Returns the names of the environment variables that a service reads."""
    names: set[str] = set()
    for name, field in kind.model_fields.items():
        alias: Any = field.validation_alias or field.alias
        names |= {str(one) for one in getattr(alias, "choices", [alias or name])} | {name}
    return {name.upper() for name in names}


def environment(manifests: list[Manifest], service: str) -> dict[str, str]:
    """Returns a container's variables with the values that the manifests give; those of secrets are empty."""
    (container,) = one(manifests, "Deployment", service)["spec"]["template"]["spec"]["containers"]
    env: dict[str, str] = {}
    for source in container.get("envFrom", []):
        env |= one(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return env | {item["name"]: str(item.get("value", "")) for item in container["env"]}


@pytest.mark.parametrize("tree", ["k8s/overlays/dev", "k8s/overlays/prod"])
@pytest.mark.parametrize("service", SETTINGS)
def test_cluster_07_a_service_reads_every_variable_that_it_is_given(tree: str, service: str) -> None:
    given = set(environment(kustomized(tree), service)) - {"NATS_PASSWORD"}  # it stands in NATS_URL
    assert given - variables(SETTINGS[service]) == set()


def test_cluster_07_compose_gives_no_variable_that_nobody_reads() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service, kind in SETTINGS.items():
        assert set(compose[service]["environment"]) - variables(kind) == set(), service


def mounted(manifests: list[Manifest], tree: Path) -> dict[str, str]:
    """Lays out in `tree` what the worker's pod finds, and returns its variables."""
    pod = one(manifests, "Deployment", "worker")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        folder = tree / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in volumes[mount["name"]]:
            config = one(manifests, "ConfigMap", volumes[mount["name"]]["configMap"]["name"])
            hidden = folder / "..data"  # files of a ConfigMap are links into a hidden folder
            hidden.mkdir()
            for name in (*config.get("data", {}), *config.get("binaryData", {})):
                (hidden / name).write_text("text")
                (folder / name).symlink_to(hidden / name)
    return environment(manifests, "worker")


def test_cluster_07_the_examples_find_their_documents_in_the_dev_overlay(tmp_path: Path) -> None:
    env = mounted(kustomized("k8s/overlays/dev"), tmp_path)
    root = tmp_path / env["AGENTFLOW_FILE_ROOTS"].lstrip("/")
    for document in DOCUMENTS:
        assert resolve(document, (root,)).is_file()
    buckets = tmp_path / env["AGENTFLOW_BUCKET_ROOT"].lstrip("/")
    for post in (ROOT / "examples" / "data" / "posts").iterdir():
        assert resolve(f"posts/{post.name}", (buckets,)).is_file()
    claims = {item["metadata"]["name"] for item in kustomized("k8s/overlays/dev") if "Claim" in item["kind"]}
    pod = one(kustomized("k8s/overlays/dev"), "Deployment", "worker")["spec"]["template"]["spec"]
    (bucket,) = (volume for volume in pod["volumes"] if volume["name"] == "buckets")
    assert bucket["persistentVolumeClaim"]["claimName"] in claims


def test_cluster_07_the_examples_name_their_documents_in_compose_as_in_a_checkout() -> None:
    worker = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    root = worker["environment"]["AGENTFLOW_FILE_ROOTS"]
    sources = {target: source for source, target in (v.split(":")[:2] for v in worker["volumes"] if "$" not in v)}
    for document in DOCUMENTS:
        folder, _, name = f"{root}/{document}".rpartition("/")
        assert (DEPLOY / sources[folder] / name).resolve() == ROOT / document


def test_cluster_07_every_overlay_lets_the_worker_reach_a_bucket() -> None:
    for tree in ("k8s/overlays/dev", "k8s/overlays/prod"):
        env = environment(kustomized(tree), "worker")
        assert {"S3_ENDPOINT", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(env)
        mounts = one(kustomized(tree), "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]
        assert {env["AGENTFLOW_FILE_ROOTS"], env["AGENTFLOW_BUCKET_ROOT"]} <= {
            mount["mountPath"] for mount in mounts["volumeMounts"]
        }


def test_cluster_03_the_prod_overlay_mounts_the_authorities_that_it_names() -> None:
    manifests = kustomized("k8s/overlays/prod")
    for service, setting in (
        *((name, "DB_SSL_ROOT_CERT") for name in ("gateway", "cost", "security", "prompt")),
        ("trace", "CLICKHOUSE_CA_CERT"),
    ):
        env = environment(manifests, service)
        pod = one(manifests, "Deployment", service)["spec"]["template"]["spec"]
        folder, _, file = env[setting].rpartition("/")
        (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == folder)
        (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
        assert (volume["configMap"]["name"], file) == ("agentflow-databases-ca", "ca.crt")
    assert environment(manifests, "trace")["CLICKHOUSE_SECURE"] == "true"
    readme = (DEPLOY / "README.md").read_text()
    assert "create configmap agentflow-databases-ca --from-file=ca.crt" in readme


@pytest.mark.parametrize("tree", ["k8s/base", "k8s/overlays/dev", "k8s/overlays/prod"])
def test_cluster_10_a_volume_is_handed_over_once_and_a_stateful_set_has_a_headless_service(tree: str) -> None:
    manifests = kustomized(tree)
    headless = {
        item["metadata"]["name"] for item in manifests
        if item["kind"] == "Service" and item["spec"].get("clusterIP") == "None"
    }  # fmt: skip
    for item in manifests:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            context = item["spec"]["template"]["spec"]["securityContext"]
            assert context["fsGroupChangePolicy"] == "OnRootMismatch", item["metadata"]["name"]
        if item["kind"] == "StatefulSet":
            assert item["spec"]["serviceName"] in headless, item["metadata"]["name"]


def test_cluster_10_the_image_installs_the_lock_with_any_pip() -> None:
    """Old pips check hashes of what an extra brings under a name that the lock does not hold: nothing is resolved."""
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    (install,) = re.findall(r"pip install [^\n]*requirements\.lock", dockerfile)
    assert "--no-deps" in install
    assert "--require-hashes" in install
