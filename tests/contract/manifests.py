"""The manifests of `deploy/`, as kustomize builds them."""

from __future__ import annotations

import functools
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
Manifest = dict[str, Any]


def kustomized(folder: str) -> list[Manifest]:
    """Returns what `kubectl kustomize deploy/FOLDER` builds; skips the test where kubectl is not installed."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return list(yaml.safe_load_all(_build(folder)))


@functools.cache
def _build(folder: str) -> str:
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
