"""A headless Chromium, spoken to over its own debugging protocol: how a page looks, and what it complains of."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

DESKTOP, PHONE = (1280, 900), (390, 844)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The browser of this machine, if it has one. CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab. `complaints` gathers errors of scripts and of the console."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = self._read(60)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]

    def show(self, *, size: tuple[int, int] = DESKTOP, dark: bool = False, media: str = "screen") -> Self:
        """A window of this size, light or dark, on a screen or on paper."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        return self

    def open(self, url: str) -> Self:
        """Load a page and wait until it has settled."""
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while self.evaluate("document.readyState") != "complete" and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        return self

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def image(self, path: Path | None = None, *, whole: bool = True) -> bytes:
        """The window as PNG, or the whole page."""
        options: dict[str, Any] = {}
        if whole:
            box = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options = {"clip": {**box, "scale": 1}, "captureBeyondViewport": True}
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def pdf(self) -> bytes:
        """As it would be printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def overflow(self) -> list[str]:
        """What reaches beyond the window's width, apart from what may be scrolled sideways."""
        return self.evaluate(
            """[...document.querySelectorAll("body *")].filter((e) => {
              const box = e.getBoundingClientRect();
              return box.width && box.right > document.documentElement.clientWidth + 1
                && !e.closest(".scroll, pre, svg");
            }).map((e) => e.tagName + "." + e.className + " " + e.textContent.slice(0, 40))"""
        )

    def _read(self, timeout: float) -> dict[str, Any]:
        message = json.loads(self._socket.recv(timeout=timeout))
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"])[:500])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A fresh browser with one tab. Needs `chromium()`."""
    program = chromium()
    assert program is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--remote-debugging-port=0", f"--user-data-dir={home}", "--no-first-run", "--hide-scrollbars",
                "about:blank",
            ],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "HOME": home},
        )  # fmt: skip
        try:
            assert process.stderr is not None
            match = next(filter(None, (re.search(r"ws://(\S+?)/", line) for line in process.stderr)))
            with _tab(match[1]) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(20)


def _tab(address: str) -> ClientConnection:
    tabs = json.load(urlopen(f"http://{address}/json/list"))
    url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    return connect(url, proxy=None, max_size=2**28, compression=None)
