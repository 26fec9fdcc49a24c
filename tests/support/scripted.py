"""A server that answers as a test says, and keeps what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it is answered; the connection is cut without an answer where ``status`` is 0."""

    status: int
    body: bytes = b""
    content_type: str = "application/problem+json"
    headers: tuple[tuple[str, str], ...] = ()


class ScriptedServer:
    """Serves on loopback, with ``answer``, while its context lasts.

    ``tls`` has the files of a certificate for localhost, and of its key.
    """

    def __init__(
        self, answer: Callable[[Asked], Answer], tls: tuple[Path, Path] | None = None
    ) -> None:
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                names = {name.lower(): value for name, value in self.headers.items()}
                request = Asked(self.command, self.path, names, body)
                outer.asked.append(request)
                given = answer(request)
                if not given.status:
                    self.close_connection = True
                    return
                self.send_response(given.status)
                self.send_header("Content-Type", given.content_type)
                for name, value in given.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(given.body)

            do_GET = do_POST = _respond

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
