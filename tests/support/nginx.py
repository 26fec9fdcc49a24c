"""nginx before nodes on this machine: with the file that is shipped, or as many have it."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from support.certificate import make_certificate
from support.processes import ROOT, free_port
from support.server import Server
from support.stream import STREAM_PATH
from support.waiting import WAIT_SECONDS, wait_until

DEPLOY = ROOT / "deploy"

# What many proxies are: they answer 502 while there is no server, to an EventSource, too.
_PLAIN = """
pid nginx.pid;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://127.0.0.1:NODE;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }
    }
}
"""


@contextlib.contextmanager
def nginx(folder: Path, nodes: list[Server]) -> Iterator[int]:
    """Run nginx with the file that is shipped, before these nodes; yield its port."""
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for number, node in enumerate(nodes, 1):
        text = text.replace(f"node{number}:8000", f"127.0.0.1:{node.port}")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    # As many as this machine allows.
    text = re.sub(r"worker_rlimit_nofile.*|(?<=worker_connections )\d+", "", text, count=1)
    text = text.replace("worker_connections 32768", "worker_connections 512")
    tls = folder / "tls"
    tls.mkdir()
    certificate, key = make_certificate(tls)
    certificate.rename(tls / "fullchain.pem")
    key.rename(tls / "privkey.pem")
    with _running(folder, text, lambda: curl(port, "/healthz").returncode == 0):
        yield port


@contextlib.contextmanager
def plain_nginx(folder: Path, node: Server) -> Iterator[int]:
    """Run nginx without any setting for streams before a node; yield its port, of plain HTTP."""
    folder.mkdir()
    port = free_port()
    text = _PLAIN.replace("PORT", str(port)).replace("NODE", str(node.port))
    with _running(folder, text, lambda: accepts(port)):
        yield port


def accepts(port: int) -> bool:
    """Return whether somebody listens on this port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def _running(folder: Path, configuration: str, is_up: Callable[[], bool]) -> Iterator[None]:
    (folder / "nginx.conf").write_text(configuration)
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    command += ["-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "nginx.log").read_text()
            return is_up()

        wait_until(answers, "nginx answers")
        yield
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def curl(port: int, path: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    """Make a request over HTTP/2 and TLS, with more of curl's options."""
    command = ["curl", "-sSk", "--http2", "--fail", *more, f"https://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, timeout=WAIT_SECONDS, check=False)


def behind_nginx(folder: Path) -> Callable[[Server], contextlib.AbstractContextManager[str]]:
    """Return what runs nginx in a folder before a server, and yields the URL of its stream."""

    @contextlib.contextmanager
    def front(server: Server) -> Iterator[str]:
        folder.mkdir()
        with nginx(folder, [server, server]) as port:
            yield f"https://localhost:{port}{STREAM_PATH}"

    return front
