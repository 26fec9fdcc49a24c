"""nginx whose locations each have one fault, before one server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.certificate import make_certificate
from support.processes import free_port
from support.stream import STREAM_PATH
from support.waiting import WAIT_SECONDS, wait_until

_SOUND = 'proxy_http_version 1.1; proxy_set_header Connection "";'
_GZIP = "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;"
_UNBUFFERED = "proxy_ignore_headers X-Accel-Buffering; proxy_buffering"

#: The directives of each location, beside those that pass requests on to the server's stream.
FAULTS = {
    "sound": _SOUND,
    "buffering": f"{_UNBUFFERED} on;",
    "gzip": f"{_SOUND} {_GZIP}",
    "slow_gzip": f"{_SOUND} {_GZIP} {_UNBUFFERED} on; proxy_buffer_size 4k;",
    "idle": f"{_SOUND} proxy_read_timeout 1s;",
    "http10": "",
    "stripped": f'{_SOUND} proxy_set_header Last-Event-ID "";',
    "no_header": f"{_SOUND} proxy_hide_header Cache-Control;",
    "expires": f"{_SOUND} proxy_hide_header Cache-Control; expires 1h;",
    "html": f"{_SOUND} proxy_hide_header Content-Type; add_header Content-Type text/html;",
    "doubled_cors": f"{_SOUND} add_header Access-Control-Allow-Origin *;",
    "no_token": f'{_SOUND} proxy_set_header Authorization "";',
    "long_heartbeat": _SOUND,
}
#: The server's paths of locations that don't pass requests on to :data:`STREAM_PATH`.
PATHS = {"no_token": "/closed/", "long_heartbeat": "/slow/"}
#: Whole bodies of locations, which pass nothing on to the server.
ANSWERS = {
    "moved": "return 301 /sound/;",
    "loop": "return 302 /loop/;",
    "login": "return 302 https://127.0.0.1:1/sign-in?next=token-of-ann;",
    "page": 'default_type text/html; return 200 "<html>";',
    "down": "proxy_pass http://127.0.0.1:1/;",
    "password": 'auth_basic "x"; auth_basic_user_file /dev/null;',
    "gone": "return 204;",
}


class Addresses(NamedTuple):
    """Where the locations are: without TLS, with TLS, and with HTTP/2, too.

    ``certificate`` is the file of the certificate, which is its own authority.
    """

    plain: str
    tls: str
    http2: str
    certificate: Path


@contextlib.contextmanager
def faulty_nginx(folder: Path, server: int) -> Iterator[Addresses]:
    """Run nginx before the server on this port."""
    port, tls_port, http2_port = free_port(), free_port(), free_port()
    locations = []
    for name, directives in FAULTS.items():
        up = f"proxy_pass http://127.0.0.1:{server}{PATHS.get(name, STREAM_PATH)};"
        locations.append(f"location /{name}/ {{ {up} {directives} }}")
    locations += [f"location /{name}/ {{ {body} }}" for name, body in ANSWERS.items()]
    certificate, key = make_certificate(folder)
    text = "\n".join(locations)
    (folder / "nginx.conf").write_text(
        f"""
        worker_processes 1; pid nginx.pid;
        events {{ worker_connections 256; }}
        http {{
            access_log off; error_log error.log;
            client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c;
            uwsgi_temp_path d; scgi_temp_path e;
            server {{
                listen 127.0.0.1:{port};
                listen 127.0.0.1:{tls_port} ssl;
                listen 127.0.0.1:{http2_port} ssl http2;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                {text}
            }}
        }}
        """
    )
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen([*command, "-g", "daemon off;"], stdout=log, stderr=log)
    try:

        def is_up() -> bool:
            assert process.poll() is None, (folder / "nginx.log").read_text()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False

        wait_until(is_up, "nginx listens")
        yield Addresses(
            f"http://127.0.0.1:{port}",
            f"https://localhost:{tls_port}",
            f"https://localhost:{http2_port}",
            certificate,
        )
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)
