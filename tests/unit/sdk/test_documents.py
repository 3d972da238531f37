"""The SDK's own documents: the examples of its docstring run, and its README names every method."""

from __future__ import annotations

import doctest
import re

import agentflow_sdk
from agentflow_sdk import Client
from tests.support.paths import ROOT

README = (ROOT / "sdk/python/README.md").read_text()


def test_the_examples_of_the_docstring_run() -> None:
    failed, tried = doctest.testmod(agentflow_sdk, optionflags=doctest.REPORT_NDIFF)
    assert failed == 0
    assert tried > 5


def test_the_readme_names_every_method_of_every_resource() -> None:
    rows = re.findall(r"^\| `client\.(\w+)`(?!,)[^|]*\| (.*) \|$", README, re.M)
    named: dict[str, set[str]] = {}
    for resource, methods in rows:
        named.setdefault(resource, set()).update(re.findall(r"(?:^|`)(\w+)(?:\(.*?\))?`", methods))
    with Client("127.0.0.1:1", "no-such-key") as client:
        resources = {name: value for name, value in vars(client).items() if not name.startswith("_")}
        offered = {
            name: {method for method in dir(value) if not method.startswith("_")} for name, value in resources.items()
        }
    assert named == offered
