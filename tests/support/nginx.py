"""nginx with the file that is shipped, before nodes on this machine."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from support.certificate import make_certificate
from support.processes import ROOT, free_port
from support.server import Server
from support.stream import STREAM_PATH
from support.waiting import WAIT_SECONDS, wait_until

DEPLOY = ROOT / "deploy"


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
    (folder / "nginx.conf").write_text(text)
    tls = folder / "tls"
    tls.mkdir()
    certificate, key = make_certificate(tls)
    certificate.rename(tls / "fullchain.pem")
    key.rename(tls / "privkey.pem")
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    command += ["-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "nginx.log").read_text()
            return curl(port, "/healthz").returncode == 0

        wait_until(answers, "nginx answers")
        yield port
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
