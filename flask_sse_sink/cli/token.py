"""``flask sse token``."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any

import click

from ..config.values import Interval

_PEM = "-----BEGIN"


def _claims(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, object]:
    claims: dict[str, object] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is no claim; write e.g. sub=ann")
        try:
            claims[name] = json.loads(text)
        except ValueError:
            claims[name] = text
    return claims


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return float(Interval.read(value))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


@click.command()
@click.option("--name", default="NAME", help="What logs call whoever has the static token.")
@click.option("--jwt", "is_jwt", is_flag=True, help="Sign a JWT for tests, instead.")
@click.option("--key", metavar="KEY", help="For a JWT: a private key's PEM file, or a secret.")
@click.option("--kid", help="For a JWT: the key's id.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_claims,
    help="For a JWT: a claim, as JSON or text; may be repeated.",
)
@click.option(
    "--expires-in", default="1h", callback=_seconds, help="For a JWT: its life; 1h by default."
)
def token(
    name: str,
    is_jwt: bool,
    key: str | None,
    kid: str | None,
    claims: dict[str, object],
    expires_in: float,
) -> None:
    """Make a static token, and print the lines for access.tokens, which hold only its hash.

    With --jwt: sign a JWT for tests, e.g. --jwt --key SECRET --claim sub=ann --claim
    iss=https://auth.example/ --claim aud=events. The server needs a key, too: access.issuers.
    """
    if is_jwt:
        if key is None:
            raise click.UsageError("--jwt needs --key, a private key's PEM file or a secret")
        now = int(time.time())
        times = {"iat": now, "exp": now + max(1, round(expires_in))}
        click.echo(_signed({**times, **claims}, key, kid))
        return
    if key is not None or kid is not None or claims:
        raise click.UsageError("--key, --kid and --claim are for a JWT; add --jwt")
    made = secrets.token_urlsafe(32)
    click.echo("The token, shown only now:", err=True)
    click.echo(made)
    click.echo("For access.tokens in config.yaml; add what it may read and publish:", err=True)
    click.echo(f"  - token: sha256:{hashlib.sha256(made.encode()).hexdigest()}")
    click.echo(f"    name: {name}")


def _signed(claims: dict[str, object], key: str, kid: str | None) -> str:
    try:
        # An optional dependency.
        import jwt
    except ImportError as error:
        raise click.ClickException(
            "a JWT needs one more library: pip install 'flask-sse-sink[jwt]'"
        ) from error
    path = Path(key)
    private: Any = path.read_text() if len(key) < 1024 and path.is_file() else key
    algorithm = "HS256"
    if private.startswith(_PEM):
        private, algorithm = _private_key(private)
    elif path.is_file():
        private = private.strip()
    try:
        return jwt.encode(claims, private, algorithm, headers={"kid": kid} if kid else None)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise click.ClickException(f"it can't be signed: {error}") from error


def _private_key(pem: str) -> tuple[Any, str]:
    """Return a private key, and the algorithm that it signs with."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError) as error:
        raise click.BadParameter(f"no private key: {error}", param_hint="--key") from None
    if isinstance(key, RSAPrivateKey):
        return key, "RS256"
    if isinstance(key, EllipticCurvePrivateKey):
        return key, {256: "ES256", 384: "ES384"}.get(key.curve.key_size, "ES512")
    return key, "EdDSA"
