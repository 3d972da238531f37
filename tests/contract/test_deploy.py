"""The manifests hold what docs/architecture.md promises of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.contract.manifests import DEPLOY, Manifest, kustomized

SERVICES = {"gateway", "scheduler", "worker", "cost", "security", "prompt", "trace"}
TREES = ("k8s/base", "k8s/overlays/dev", "k8s/overlays/prod")


def load(*paths: Path) -> list[Manifest]:
    return [item for path in paths for item in yaml.safe_load_all(path.read_text()) if item]


@pytest.fixture(scope="module", params=TREES)
def built(request: pytest.FixtureRequest) -> list[Manifest]:
    return kustomized(request.param)


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [item for item in manifests if item["kind"] in kinds]


def assert_restricted(workload: Manifest) -> None:
    """The `restricted` pod security standard, and a file system that nobody writes to."""
    pod = workload["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_every_pod_is_restricted_and_probed(built: list[Manifest]) -> None:
    workloads = of_kind(built, "Deployment", "StatefulSet")
    assert SERVICES | {"nats"} <= {item["metadata"]["name"] for item in workloads}
    for workload in workloads:
        assert_restricted(workload)
    for service in of_kind(built, "Deployment"):
        container = service["spec"]["template"]["spec"]["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_secrets_are_referred_to_and_never_held(built: list[Manifest]) -> None:
    assert not of_kind(built, "Secret")
    for workload in of_kind(built, "Deployment", "StatefulSet"):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env", []):
                if re.search(r"PASSWORD$|_KEY$", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_nothing_talks_unless_it_is_allowed_to(built: list[Manifest]) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind(built, "NetworkPolicy")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    pods = [item["spec"]["template"]["metadata"]["labels"] for item in of_kind(built, "Deployment", "StatefulSet")]

    def selects(selector: Manifest) -> bool:
        wanted = selector.get("matchLabels", {}).items()
        return any(wanted <= labels.items() for labels in pods)

    for name, policy in policies.items():
        assert selects(policy["podSelector"]), f"{name} selects no pod"
        for rule in policy.get("ingress", []) + policy.get("egress", []):
            for peer in rule.get("from", []) + rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    assert selects(peer["podSelector"]), f"{name} lets a pod through that is not there"


def test_a_node_can_be_drained(built: list[Manifest]) -> None:
    guarded = {
        item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
        for item in of_kind(built, "PodDisruptionBudget")
    }
    assert guarded == SERVICES | {"nats"}


def test_the_base_is_sound_yaml_without_kustomize() -> None:
    base = DEPLOY / "k8s" / "base"
    listed = yaml.safe_load((base / "services" / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {f"{name}.yaml" for name in SERVICES}
    manifests = load(*(base / "services" / name for name in listed), base / "nats" / "nats.yaml")
    common = load(base / "services" / "every-pod.yaml")[0]["spec"]["template"]["spec"]
    assert common["securityContext"]["runAsNonRoot"] is True
    names = {item["metadata"]["name"] for item in of_kind(manifests, "Deployment")}
    assert names == SERVICES
    (nats,) = of_kind(manifests, "StatefulSet")
    assert nats["spec"]["replicas"] == 3
    assert_restricted(nats)


def test_compose_runs_every_service_from_the_one_dockerfile() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in SERVICES:
        build = compose[name]["build"]
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == (DEPLOY / "docker/Dockerfile").resolve()
        assert build["args"] == {"SERVICE": name}
        assert compose[name]["read_only"] is True
