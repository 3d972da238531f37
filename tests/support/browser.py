"""A real browser for tests and pictures: Chromium without a window, steered by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.sync.client import ClientConnection, connect

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S: Final = 60.0


def program() -> str:
    """Returns the browser's program; empty if this machine has none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), "")


needs_browser: Final = pytest.mark.skipif(not program(), reason="there is no chromium on this machine")


class Browser:
    """An open page. `problems` are the errors of its scripts, and what its policy has refused."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.problems: list[str] = []
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the result of a command of the protocol."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=PATIENCE_S))
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif message["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif message["method"] == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])

    def open(self, path: Path) -> None:
        """Opens a file and waits until it is loaded and its program has run."""
        self.call("Page.navigate", url=path.as_uri())
        here = f"location.href === {json.dumps(path.as_uri())}"
        self.wait_for(f"{here} && document.readyState === 'complete'")

    def wait_for(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.run(expression):
            assert time.monotonic() < end, f"{expression} does not become true; {self.problems}"
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """Returns the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key, such as `ArrowDown`."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_CODES.get(key, 0))

    def dark(self, dark: bool = True) -> None:
        """Says which colours the person likes."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, width: int, height: int) -> bytes:
        """Returns the visible part of the page as PNG."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


_CODES: Final = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                 "ArrowDown": 40, "PageDown": 34, "PageUp": 33, "Tab": 9}  # fmt: skip


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Starts a browser with a profile of its own, and ends it."""
    with tempfile.TemporaryDirectory(prefix="agentflow-browser-", ignore_cleanup_errors=True) as folder:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--hide-scrollbars",
                   "--force-color-profile=srgb", "--font-render-hinting=none", f"--user-data-dir={folder}")  # fmt: skip
        env = {**os.environ, "TZ": "UTC", "LANG": "C.UTF-8"}
        process = subprocess.Popen(
            [program(), *options, "about:blank"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            with connect(_page_address(process, Path(folder)), max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()


def _page_address(process: subprocess.Popen[bytes], folder: Path) -> str:
    file = folder / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE_S
    while not (file.exists() and file.read_text().count("\n")):
        assert process.poll() is None, f"{program()} ended with code {process.returncode}"
        assert time.monotonic() < end, f"{program()} does not open its port"
        time.sleep(0.05)
    port, path = file.read_text().split("\n")[:2]
    with connect(f"ws://127.0.0.1:{port}{path}") as connection:
        connection.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        targets = json.loads(connection.recv(timeout=PATIENCE_S))["result"]["targetInfos"]
    page = next(target["targetId"] for target in targets if target["type"] == "page")
    return f"ws://127.0.0.1:{port}/devtools/page/{page}"
