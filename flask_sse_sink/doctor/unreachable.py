"""Why nobody answers: what an error of the network means, and what to do about it."""

from __future__ import annotations

import http.client
import socket
import ssl

from .target import Target

#: How long a connection may take, and the handshake of TLS over it.
CONNECT_SECONDS = 10.0
HANDSHAKE_SECONDS = 5.0


class Unreachable(Exception):
    """Nobody answers as HTTP has it: what was seen, the likely cause, and the cure."""

    def __init__(self, seen: str, cause: str, cure: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.cause = cause
        self.cure = cure


def not_connected(target: Target, error: Exception) -> Unreachable:
    """Return why no connection could be made."""
    where = f"{target.host}:{target.port}"
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"the name {target.host} isn't known ({error.strerror})",
            "it is misspelt, has no DNS record, or the resolver can't be reached",
            f"look at `getent hosts {target.host}`, and at the record of the name",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{where} doesn't answer within {CONNECT_SECONDS:g} s",
            "a firewall or a security group drops the packets, or the machine is off",
            f"open port {target.port} on the way, and look whether the machine runs",
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"{where} refuses connections",
            "nothing listens there: the server isn't started, or listens on another address or "
            "port, such as loopback alone",
            "start it, and compare `ss -ltn` there with server.host and server.port",
        )
    return Unreachable(
        f"{where} can't be reached ({error})",
        "there is no way to it in the network",
        "look at the route and at the firewalls on the way",
    )


def no_tls(target: Target, error: Exception) -> Unreachable:
    """Return why TLS can't be spoken over a connection."""
    where = f"{target.host}:{target.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            f"the certificate of {where} isn't accepted: {error.verify_message}",
            "it is for another host, expired, or of an authority that isn't known here; a browser "
            "refuses it, too",
            "renew it with its whole chain (fullchain.pem); for an authority of your own, set "
            "SSL_CERT_FILE for this command",
        )
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if isinstance(error, TimeoutError):
        reason = f"no answer within {HANDSHAKE_SECONDS:g} s"
    if "APPLICATION_PROTOCOL" in reason:
        return Unreachable(
            f"{where} doesn't offer HTTP/1.1 over TLS",
            "it speaks HTTP/2 alone, which this command doesn't",
            "let it offer http/1.1, too; browsers may get through all the same",
        )
    return Unreachable(
        f"{where} doesn't speak TLS ({reason or 'the handshake was ended'})",
        "the port is one for plain HTTP, or it accepts other versions of TLS only",
        "write http://, or the port that TLS is on; the proxy should accept TLS 1.2 and 1.3",
    )


def no_http(target: Target, error: Exception) -> Unreachable:
    """Return why a request got no answer over a connection that stood."""
    where = f"{target.host}:{target.port}"
    if isinstance(error, (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        return Unreachable(
            f"{where} closed the connection without an answer",
            "a proxy whose server is away or crashed, a filter that refuses the request, or a "
            "port for TLS that was asked in plain HTTP",
            "look into the log of what listens there; try https://",
        )
    return Unreachable(
        f"{where} doesn't answer in HTTP/1",
        "another protocol is spoken on this port, such as HTTP/2 without TLS, or a database's",
        "name the port of the server or of its proxy",
    )
