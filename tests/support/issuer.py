"""An issuer of tokens, which signs with another library than the one that reads them."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

NAME = "https://auth.example/"
AUDIENCE = "events"
SECRET = "a shared secret of the tests, thirty-two bytes and more"

AnyKey = RSAKey | ECKey | OKPKey | OctKey
SHARED = OctKey.import_key(SECRET)

_rsa_keys: dict[str, RSAKey] = {}


def rsa_key(kid: str) -> RSAKey:
    """Return the RSA key of this name, which is made once: that takes long."""
    if kid not in _rsa_keys:
        _rsa_keys[kid] = RSAKey.generate_key(2048, parameters={"kid": kid})
    return _rsa_keys[kid]


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token with these changes; None leaves a claim out."""
    now = int(time.time())
    good = {"iss": NAME, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(
    key: AnyKey = SHARED, algorithm: str = "HS256", kid: str | None = None, **changes: Any
) -> str:
    """Return a token that is signed with this key; ``changes`` are those of its claims."""
    header = {"alg": algorithm, **({"kid": kid} if kid is not None else {})}
    return jwt.encode(header, claims(**changes), key, algorithms=[algorithm])


def key_set(*keys: RSAKey | ECKey | OKPKey) -> bytes:
    """Return the JSON Web Key Set of these keys' public halves."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class JwksServer:
    """Answers with a key set.

    ``document`` is the body, ``status`` the status, ``location`` where a redirect leads to.
    ``gate`` holds the answers back while it isn't set; ``drip`` sends the body a byte at a time,
    so many seconds apart. ``requests`` counts the requests.
    """

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.status = 200
        self.location = ""
        self.drip = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests += 1
                owner.gate.wait(20)
                body = owner.document
                try:
                    self.send_response(owner.status)
                    self.send_header("Content-Length", str(len(body)))
                    if owner.location:
                        self.send_header("Location", owner.location)
                    self.end_headers()
                    self._send(body)
                except OSError:
                    # The client has given up.
                    self.close_connection = True

            def _send(self, body: bytes) -> None:
                size = 1 if owner.drip else len(body) or 1
                for start in range(0, len(body), size):
                    self.wfile.write(body[start : start + size])
                    time.sleep(owner.drip)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # Then `server_close` waits for the threads, whose sockets would stay open else.
        self._server.daemon_threads = False
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def serve_tls(self, certificate: Path, key: Path) -> None:
        """Speak TLS on connections from now on."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def stop(self) -> None:
        """Go away: nobody listens on the port any more. May be called again."""
        self.gate.set()
        self.drip = 0.0
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@contextmanager
def jwks_server(*keys: RSAKey | ECKey | OKPKey) -> Iterator[JwksServer]:
    """Run a server with the set of these keys."""
    server = JwksServer(key_set(*keys))
    try:
        yield server
    finally:
        server.stop()
