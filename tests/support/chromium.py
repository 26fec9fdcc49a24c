"""A browser: what its pages tell the test."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from support.readers import Read
from support.waiting import WAIT_SECONDS

#: What a page tells is sent with this function: three strings.
TELL = """
let last = Promise.resolve();
const tell = (...words) => {
  const body = JSON.stringify(words);
  last = last.then(() => fetch("/told", { method: "POST", body }));
};
"""
_PAGE = f"""<!doctype html><meta charset="utf-8"><script>{TELL}
const source = new EventSource(new URLSearchParams(location.search).get("url"));
for (const type of ["info", "message"])
  source.addEventListener(type, (e) => tell(e.type, e.data, e.lastEventId));
</script>
"""


class Answer(NamedTuple):
    """What a path is answered with."""

    body: str
    headers: Mapping[str, str] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves the pages, and takes what they tell."""

    server: _HTTPServer

    def do_GET(self) -> None:
        make = self.server.answers.get(self.path.partition("?")[0])
        self._answer(make() if make else Answer(""))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.told.put(tuple(json.loads(self.rfile.read(length))))
        self._answer(Answer(""))

    def _answer(self, answer: Answer) -> None:
        body = answer.body.encode()
        self.send_response(200)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _HTTPServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: queue.Queue[Read] = queue.Queue()
        self.answers: dict[str, Callable[[], Answer]] = {}


class Pages:
    """A server of pages, which has what these tell; ``answers`` has what makes each path's."""

    def __init__(self) -> None:
        self._server = _HTTPServer()
        self.port: int = self._server.server_port
        self.answers = self._server.answers
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._serving.start()

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def next(self) -> Read:
        """Return what a page tells next.

        :raises queue.Empty: nothing came in time.
        """
        return self._server.told.get(timeout=2 * WAIT_SECONDS)


@contextlib.contextmanager
def chromium(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    """Open the stream at a URL in a page of a browser of its own."""
    with Pages() as pages:
        pages.answers["/"] = lambda: Answer(_PAGE)
        page = f"http://127.0.0.1:{pages.port}/?{urlencode({'url': url})}"
        with browse(page, folder):
            yield iter(pages.next, None)


@contextlib.contextmanager
def browse(page: str, folder: Path) -> Iterator[None]:
    """Open a page in a browser of its own."""
    # nginx has a certificate of its own making; the rest keeps it from calling home.
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--ignore-certificate-errors",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        page,
    ]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
