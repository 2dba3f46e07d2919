"""Chromium without a window, driven through its DevTools protocol on two pipes: keys, screenshots and downloads."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking "
    "--mute-audio --hide-scrollbars --disable-extensions --remote-debugging-pipe"
).split()
CODES = {" ": ("Space", 32), "Enter": ("Enter", 13), "Tab": ("Tab", 9), "ArrowLeft": ("ArrowLeft", 37),
         "ArrowUp": ("ArrowUp", 38), "ArrowRight": ("ArrowRight", 39), "ArrowDown": ("ArrowDown", 40),
         "PageUp": ("PageUp", 33), "PageDown": ("PageDown", 34), "End": ("End", 35), "Home": ("Home", 36)}  # fmt: skip


class Browser:
    """One page at a width and height in CSS pixels; a context manager, at the end of which Chromium is gone."""

    def __init__(
        self,
        folder: Path,
        *,
        width: int,
        height: int,
        dark: bool = False,
        touch: bool = False,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.flags = folder, flags
        self.size, self.dark, self.touch = (width, height), dark, touch
        self.errors: list[str] = []
        self.count = 0
        self.session = ""
        self.received = b""

    def __enter__(self) -> "Browser":
        assert CHROMIUM
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.write_end = os.pipe()
        self.read_end, to_write = os.pipe()

        def connect() -> None:  # the protocol's pipes are 3 and 4
            high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_read, to_write)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, *self.flags, f"--user-data-dir={self.profile.name}", "about:blank"],
            preexec_fn=connect, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        width, height = self.size
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=self.touch
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=self.touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        self.profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command; what the page reports meanwhile as an error goes to `errors`."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.received:
            assert select.select([self.read_end], [], [], 60)[0], "the browser does not answer"
            found = os.read(self.read_end, 1 << 20)
            assert found, "the browser has ended"
            self.received += found
        text, self.received = self.received.split(b"\0", 1)
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        if event.get("method") == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.errors.append(f"a request to {url}")

    def open(self, file: Path) -> None:
        """Load a page, again if it is there."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=file.as_uri())
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str, *, seconds: float = 30) -> Any:
        """Wait until an expression is true in the page."""
        return until(lambda: self.value(expression), expression, seconds=seconds)

    def press(self, *keys: str) -> None:
        """Press and release keys, by the names that JavaScript gives them."""
        for key in keys:
            code, number = CODES.get(
                key, (f"Digit{key}" if key.isdigit() else f"Key{key.upper()}", ord(key.upper()[0]))
            )
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            stroke = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **stroke, text=text)
            self.send("Input.dispatchKeyEvent", type="keyUp", **stroke)

    def choose_file(self, selector: str, file: Path) -> None:
        """Give a file to an input, as its dialog does."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.send("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    def tap(self, selector: str) -> None:
        """Touch the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = self.value(f"(({{left, top, width, height}}) => [left + width / 2, top + height / 2])({box})")
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Write what is seen as PNG, or all of the page."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))


def until(condition: Callable[[], Any], what: str, *, seconds: float = 30) -> Any:
    """What a condition gives as soon as it is true; AssertionError after some seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found
