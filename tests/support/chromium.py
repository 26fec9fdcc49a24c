"""A browser: its EventSource tells the test what it was dispatched."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from support.readers import Read
from support.waiting import WAIT_SECONDS

_PAGE = b"""<!doctype html><meta charset="utf-8"><script>
const source = new EventSource(new URLSearchParams(location.search).get("url"));
let last = Promise.resolve();
const show = (e) => {
  const body = JSON.stringify([e.type, e.data, e.lastEventId]);
  last = last.then(() => fetch("/", { method: "POST", body }));
};
for (const type of ["info", "message"]) source.addEventListener(type, show);
</script>
"""


class _Page(http.server.BaseHTTPRequestHandler):
    """Serves the page with the EventSource, and takes what that tells."""

    server: _PageServer

    def do_GET(self) -> None:
        self._answer(_PAGE)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.told.put(tuple(json.loads(self.rfile.read(length))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _PageServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.told: queue.Queue[Read] = queue.Queue()


@contextlib.contextmanager
def chromium(url: str, folder: Path) -> Iterator[Iterator[Read]]:
    """Open the stream at a URL in a page of a browser of its own."""
    with _PageServer() as pages:
        serving = threading.Thread(target=pages.serve_forever)
        serving.start()
        page = f"http://127.0.0.1:{pages.server_port}/?{urlencode({'url': url})}"
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
            yield iter(lambda: pages.told.get(timeout=2 * WAIT_SECONDS), None)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pages.shutdown()
            serving.join()
