"""Drives Chromium without a screen over its own pipe, and runs a packed network in a page there."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from xnorlit.errors import UserError
from xnorlit.report.html.live import write_live

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 120.0  # for an answer, on a busy machine too
_TURNS = 20  # runs of one image; the median counts
_OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no network
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class Page:
    """A page in a Chromium of its own, without network; a context manager that ends it.

    Args:
        url: What it opens.

    Raises:
        UserError: Chromium is not installed, or does not answer.
    """

    def __init__(self, url: str) -> None:
        program = next(filter(None, map(shutil.which, _NAMES)), None)
        if program is None:
            raise UserError(
                f"no browser: none of {', '.join(_NAMES)} is installed. Install one: apt-get install chromium."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="xnorlit-browser-", ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root.
        command = [program, *_OPTIONS, *alone, f"--user-data-dir={self._folder.name}", "about:blank"]
        # It reads commands from descriptor 3 and answers on 4; higher copies first, since one may be the other's.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        nothing = [(os.POSIX_SPAWN_OPEN, end, os.devnull, os.O_RDWR, 0) for end in range(3)]
        given = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(high, 3)]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=[*nothing, *given])
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._in, self._out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._rest, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for room in ("Page", "Runtime", "Network"):
                self.call(f"{room}.enable")
            self.call("Page.navigate", url=url)
            while not any(event["method"] == "Page.loadEventFired" for event in self.events):
                self.events.append(self._next())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        for end in (self._in, self._out):
            with suppress(BrokenPipeError):
                end.close()
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol; events that come first go to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            self._out.write(json.dumps(message).encode() + b"\0")
            self._out.flush()
        except BrokenPipeError:
            raise UserError("the browser has ended before it answered") from None
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, the value that it gives."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise UserError(f"the page says: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise UserError(f"the browser has not answered for {_SECONDS:.0f} s")
            read = os.read(self._in.fileno(), 1 << 20)
            if not read:
                raise UserError("the browser has ended before it answered")
            self._rest += read
        found, _, self._rest = self._rest.partition(b"\0")
        return json.loads(found)


class Network:
    """A packed network in a browser; call it like the packed engine. A context manager.

    Args:
        content: The bytes of a packed file that loads.

    Attributes:
        bytes: Size of its page, which holds the engine too.

    Raises:
        UserError: Chromium is not installed, or the engine has not been built for browsers.
    """

    def __init__(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = write_live(content, Path(folder) / "page.html", "a network")
            self.bytes = file.stat().st_size
            self._page = Page(file.as_uri())
        try:
            self._page.run("xnorlitLive.ready")
        except BaseException:
            self._page.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, `[N, classes]`.

        Args:
            images: uint8 `[N, S, S, 3]`.
        """
        return np.array([each["logits"] for each in self._runs(images)], np.float32)

    def milliseconds(self, image: np.ndarray) -> float:
        """Median time of the network alone for one image, as the page measures it.

        Args:
            image: uint8 `[1, S, S, 3]`.
        """
        return float(np.median([each["milliseconds"] for each in self._runs(np.repeat(image, _TURNS, axis=0))]))

    def _runs(self, images: np.ndarray) -> list[dict[str, Any]]:
        data = base64.b64encode(np.ascontiguousarray(images).tobytes()).decode()
        return self._page.run(
            f"((all) => Array.from({{length: {len(images)}}}, (_, i) => {{const size = all.length / {len(images)};"
            "const {logits, milliseconds} = xnorlitLive.run(all.subarray(i * size, (i + 1) * size));"
            "return {logits: Array.from(logits), milliseconds}}))"
            f"(Uint8Array.from(atob('{data}'), (char) => char.charCodeAt(0)))"
        )
