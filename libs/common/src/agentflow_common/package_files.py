"""Files that a service brings along: beside its sources in a checkout, inside of the package in a wheel."""

from __future__ import annotations

from pathlib import Path


def find(package_file: str, name: str) -> Path:
    """Returns `<package>/<name>`, or `services/<service>/<name>` in a checkout.

    package_file: `__file__` of a module of the package.
    """
    package = Path(package_file).resolve().parent
    inside = package / name
    return inside if inside.exists() else package.parents[1] / name
