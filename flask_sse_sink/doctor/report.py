"""What the doctor found, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: What a check came to. A note is worth knowing, and nothing is wrong.
OK, FOUND, NOTE, SKIPPED = "ok", "finding", "note", "skipped"


class Finding(NamedTuple):
    """Something that is wrong: a code, what was seen, the likely cause, and the cure."""

    code: str
    seen: str
    cause: str
    cure: str


class Check(NamedTuple):
    """One thing that was looked at; ``result`` says what it came to."""

    name: str
    result: str
    seen: str


class Limit(NamedTuple):
    """A known limit of something that stands on the way.

    ``kind`` is ``idle`` where silence ends a stream, ``total`` where its age does. ``setting`` is
    what changes the limit.
    """

    name: str
    kind: str
    seconds: float
    setting: str


@dataclass
class Report:
    """The outcome of one examination. ``url`` is "" where this machine was examined."""

    url: str = ""
    findings: list[Finding] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    heartbeat_timeout: float | None = None
    #: Makes texts printable that may hold what others sent.
    printable: Callable[[str], str] = str

    def ok(self, name: str, seen: str) -> None:
        """Note a check that found nothing."""
        self._check(name, OK, seen)

    def note(self, name: str, seen: str) -> None:
        """Note something that is worth knowing, and not wrong."""
        self._check(name, NOTE, seen)

    def skip(self, name: str, seen: str) -> None:
        """Note a check that couldn't be made, and why."""
        self._check(name, SKIPPED, seen)

    def find(self, finding: Finding) -> None:
        """Add a finding, and the check that it comes from; one of each code is kept."""
        if finding.code in (each.code for each in self.findings):
            return
        seen = self.printable(finding.seen)
        self.findings.append(finding._replace(seen=seen))
        self.checks.append(Check(finding.code, FOUND, seen))

    def _check(self, name: str, result: str, seen: str) -> None:
        self.checks.append(Check(name, result, self.printable(seen)))

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "url": self.url or None,
            "findings": [each._asdict() for each in self.findings],
            "checks": [each._asdict() for each in self.checks],
            "limits": [each._asdict() for each in self.limits],
            "heartbeat_timeout": self.heartbeat_timeout,
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report as people read it."""
        yield self.url or "this machine"
        yield ""
        width = max((len(check.name) for check in self.checks), default=0)
        for check in self.checks:
            yield f"  {check.result:<7}  {check.name:<{width}}  {check.seen}"
        yield from self._limit_lines()
        for finding in self.findings:
            yield ""
            yield finding.code
            yield f"  seen   {finding.seen}"
            yield f"  cause  {finding.cause}"
            yield f"  cure   {finding.cure}"
        yield ""
        count = len(self.findings)
        yield f"{count} {'finding' if count == 1 else 'findings'}" if count else "Nothing found."

    def _limit_lines(self) -> Iterator[str]:
        if not self.limits:
            return
        yield ""
        timeout = self.heartbeat_timeout
        here = "" if timeout is None else f" ({timeout:g} s here)"
        yield f"  Known limits on the way; heartbeat_timeout{here} must be below those of silence:"
        for limit in self.limits:
            kind = "of silence" if limit.kind == "idle" else "in all"
            yield f"    {limit.name}: {limit.seconds:g} s {kind}, by default ({limit.setting})"
