"""Checks of the section ``access``, and what is allowed in it but deserves a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .access_settings import SECRET_BYTES, IssuerSettings, StaticTokenSettings, is_loopback
from .grants import PublishGrantSettings, ReadGrantSettings, claims_of
from .problems import Problems
from .settings import Settings
from .values import show


def check_access(settings: Settings, problems: Problems) -> None:
    """Add every contradiction in the section ``access`` to ``problems``."""
    _AccessChecks(settings, problems).run()


class _AccessChecks:
    """The checks of one configuration."""

    def __init__(self, settings: Settings, problems: Problems) -> None:
        self._settings = settings
        self._problems = problems

    def run(self) -> None:
        access = self._settings.access
        digests: dict[bytes, str] = {}
        for n, token in enumerate(access.tokens):
            self._check_token(token, f"access.tokens[{n}]", digests)
        names: dict[str, str] = {}
        for n, issuer in enumerate(access.issuers):
            self._check_issuer(issuer, f"access.issuers[{n}]", names)

    def _add(self, path: str, what: str) -> None:
        # A setting that couldn't be read is reported as that already, and has its default here.
        if not self._problems.reported(path):
            self._problems.add(path, what)

    def _check_token(
        self, token: StaticTokenSettings, path: str, digests: dict[bytes, str]
    ) -> None:
        if not token.token.digest:
            self._add(f"{path}.token", "is missing; write the token, or sha256:HEX")
        elif (first := digests.setdefault(token.token.digest, path)) != path:
            self._add(f"{path}.token", f"stands in {first}, too; keep one of them")
        if not token.name:
            self._add(f"{path}.name", "is missing; write what logs shall call this token")
        for where, grant in _grants(token, path):
            self._check_sinks(grant, where)
            for setting, texts in grant.criteria():
                if any(claims_of(text) for text in texts):
                    self._add(
                        f"{where}.{setting}",
                        "has a template, but a static token has no claims; write the value",
                    )

    def _check_issuer(self, issuer: IssuerSettings, path: str, names: dict[str, str]) -> None:
        if not issuer.issuer:
            self._add(f"{path}.issuer", "is missing; write what its tokens have as `iss`")
        elif (first := names.setdefault(issuer.issuer, path)) != path:
            self._add(f"{path}.issuer", f"stands in {first}, too; keep one of them")
        if not issuer.audience:
            self._add(f"{path}.audience", "is missing; write what its tokens have in `aud`")
        if not issuer.claim:
            self._add(f"{path}.claim", 'is empty; write a claim\'s name, e.g. "sse"')
        self._check_keys(issuer, path)
        for where, grant in _grants(issuer, path):
            self._check_sinks(grant, where)

    def _check_keys(self, issuer: IssuerSettings, path: str) -> None:
        if bool(issuer.jwks) == bool(issuer.key.text):
            if not self._problems.reported(f"{path}.key"):
                self._add(f"{path}.jwks", "write either jwks or key")
            return
        symmetric = [name.startswith("HS") for name in issuer.algorithms]
        if any(symmetric) and not all(symmetric):
            self._add(
                f"{path}.algorithms",
                "mixes shared secrets (HS…) with public keys; write two issuers, or one kind",
            )
        elif issuer.shares_secret and issuer.jwks:
            self._add(
                f"{path}.algorithms",
                "HS… needs a shared secret, which is never fetched; write `key`, or e.g. [RS256]",
            )
        elif issuer.shares_secret:
            self._check_secret(issuer, f"{path}.key")
        elif "-----BEGIN" in issuer.key.text:
            self._add(f"{path}.key", "is a key itself; write it to a file, and the file's path")

    def _check_secret(self, issuer: IssuerSettings, path: str) -> None:
        secret = issuer.key.text
        # RFC 7518, 3.2: as long as the hash, e.g. 512 bits for HS512.
        least = max(SECRET_BYTES, *(int(name[2:]) // 8 for name in issuer.algorithms))
        if looks_like_public_key(secret):
            self._add(
                path,
                "is a public key, which everybody may know, and no secret; "
                "write algorithms such as [RS256], and the path of a PEM file",
            )
        elif len(secret.encode()) < least:
            self._add(path, f"is too short for a secret; use {least} random bytes or more")

    def _check_sinks(self, grant: PublishGrantSettings, path: str) -> None:
        if not isinstance(grant, ReadGrantSettings):
            return
        for name in grant.sink.texts:
            if name not in self._settings.sink:
                known = ", ".join(self._settings.sink)
                self._add(f"{path}.sink", f"{show(name)} is no sink; there are {known}")


def looks_like_public_key(text: str) -> bool:
    """Return whether the text is a key in a format that only public or private keys have."""
    text = text.strip()
    return text.startswith(("{", "ssh-", "ecdsa-sha2-")) or "-----BEGIN" in text


def _grants(
    owner: StaticTokenSettings | IssuerSettings, path: str
) -> Iterator[tuple[str, PublishGrantSettings]]:
    """Yield every grant with its path."""
    lists: tuple[tuple[str, Sequence[PublishGrantSettings]], ...] = (
        ("subscribe", owner.subscribe),
        ("publish", owner.publish),
    )
    for name, grants in lists:
        for n, grant in enumerate(grants):
            yield f"{path}.{name}[{n}]", grant


def warnings(settings: Settings) -> list[str]:
    """Return what is allowed, but probably not meant, for ``flask sse check``."""
    access = settings.access
    found = [message for message in [unusable_sinks(settings)] if message]
    bare = [
        f"access.issuers[{n}]"
        for n, issuer in enumerate(access.issuers)
        if any(
            "{sub}" in texts for _, grant in _grants(issuer, "") for _, texts in grant.criteria()
        )
    ]
    if len(bare) > 1:
        found.append(
            f"{' and '.join(bare)} grant a bare {{sub}}: where two issuers call different people "
            "alike, one gets the other's events. Write e.g. acme:{sub}"
        )
    if not is_loopback(settings.server.host):
        found += [
            f"sink.{name} is open, and {settings.server.host} isn't loopback: whoever reaches "
            "the port reads it. Set access: token, or let a proxy or a firewall decide"
            for name, sink in settings.sink.items()
            if sink.access == "none"
        ]
    return found


def unusable_sinks(settings: Settings) -> str:
    """Return a warning where sinks ask for tokens and none is configured, else ""."""
    closed = [f"sink.{name}" for name, sink in settings.sink.items() if sink.access == "token"]
    if not closed or settings.access.tokens or settings.access.issuers:
        return ""
    return (
        f"{', '.join(closed)}: access is token, but neither access.tokens nor access.issuers "
        "is set, so that nobody's token opens a stream"
    )
