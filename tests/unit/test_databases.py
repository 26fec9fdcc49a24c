"""A kind of log that is registered from outside the package."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from flask_sse_sink.access.revocations import Revocation
from flask_sse_sink.config import loading
from flask_sse_sink.config.databases import DATABASES
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.event import NewEvent, Source, encode_envelope
from flask_sse_sink.exceptions import ConfigError
from flask_sse_sink.filters import Filter
from flask_sse_sink.log import (
    Appended,
    EventLog,
    LogStatus,
    Page,
    Record,
    StoredEnvelope,
    open_log,
)
from flask_sse_sink.log.protocol import FAR_FUTURE_US, BeforePrune, iso, now_us, prune_all
from support.apps import Listen, MakeApp, publish


class NoRevocations:
    """Stands for revocations where there never are any."""

    def revoke(self, subject: str, issuer: str | None = None, lasting: bool = False) -> Revocation:
        raise NotImplementedError

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        return False

    def version(self) -> tuple[str, int]:
        return "toy", 0

    def changes(self, after: int, limit: int) -> list[Revocation]:
        return []

    def restore(self, revocations: Iterable[Revocation]) -> None:
        raise NotImplementedError

    def prune(self, seconds: float) -> int:
        return 0


class ToyLog:
    """A log in the memory of one process, which finds no duplicates and prunes nothing."""

    identity = "toy"

    def __init__(self) -> None:
        self.revocations = NoRevocations()
        self._envelopes: list[StoredEnvelope] = []
        self._changed = threading.Condition()
        self._interrupted = False

    def append(self, events: Sequence[NewEvent]) -> Appended:
        with self._changed:
            first = len(self._envelopes) + 1
            for id, new in enumerate(events, first):
                event = new.as_event(id, iso(now_us()), Source(1, new.source))
                self._envelopes.append((id, encode_envelope(event)))
            self._changed.notify_all()
        return Appended(list(range(first, first + len(events))), 0)

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
        return self._envelopes[after : after + limit]

    def appended(self, after: int, limit: int) -> list[StoredEnvelope] | None:
        return None

    def replay(self, after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        return Page([], self.head(), after, False)

    def head(self) -> int:
        return len(self._envelopes)

    def status(self) -> LogStatus:
        return LogStatus(self.head(), self.head(), 0, 0)

    def head_before(self, before_us: int) -> int:
        return 0

    def tail(self, after: int, timeout: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._interrupted or self.head() > after, timeout)
            self._interrupted = False
        return self.head()

    def interrupt(self) -> None:
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def prune(
        self,
        before_us: int,
        limit: int,
        keep: int = 0,
        future_us: int = FAR_FUTURE_US,
        before_prune: BeforePrune = prune_all,
    ) -> int:
        return 0

    def records(self, after: int, limit: int) -> list[Record]:
        return []

    def restore(self, records: Sequence[Record], head: int, identity: str) -> None:
        raise NotImplementedError

    def inspect(self) -> None:
        pass

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class ToyDatabase:
    """The kind of database that ``toy://NAME`` names."""

    has_replicas = False

    def check(self, settings: DatabaseSettings) -> str:
        return "" if settings.url.removeprefix("toy://") else "names no toy; write toy://NAME"

    def resolved(self, settings: DatabaseSettings, base: Path) -> DatabaseSettings:
        return settings

    def open(self, settings: DatabaseSettings) -> EventLog:
        return ToyLog()


@pytest.fixture
def toy() -> Iterator[None]:
    DATABASES.register("toy", ToyDatabase())
    yield
    DATABASES.unregister("toy")


def _read(**database: object) -> DatabaseSettings:
    content = {"sink": {"sse": None}, "database": database}
    return from_mapping(content, "c.yaml", Path.cwd()).database


def test_an_app_streams_from_a_log_of_somebody_else(
    toy: None, make_app: MakeApp, listen: Listen
) -> None:
    app = make_app(database={"url": "toy://x"})
    stream = listen(app)
    assert publish(app, "a.b", "c") == [1, 2]
    assert stream.types(2) == ["a.b", "c"]
    answer = app.test_client().post("/ingest", json={"event_type": "d"})
    assert answer.get_json() == {"accepted": 1, "duplicates": 0, "ids": [3]}
    assert stream.types(1) == ["d"]


def test_its_settings_are_checked_by_its_kind(toy: None) -> None:
    assert _read(url="toy://x").url == "toy://x"
    assert isinstance(open_log(_read(url="toy://x")), ToyLog)
    with pytest.raises(
        ConfigError, match=r"^c.yaml: database.url: names no toy; write toy://NAME"
    ):
        _read(url="toy://")
    with pytest.raises(ConfigError, match=r"^c.yaml: database.replicas: toy has none to wait for"):
        _read(url="toy://x", replicas=1)


def test_a_scheme_that_nobody_registered_is_no_log() -> None:
    with pytest.raises(ConfigError, match=r'^c.yaml: database.url: "toy://x" is not a log; write'):
        _read(url="toy://x")
    with pytest.raises(ConfigError, match=r'^database.url: "toy://x" is not a log; write'):
        open_log(DatabaseSettings(url="toy://x"))


def test_a_scheme_is_registered_once(toy: None) -> None:
    with pytest.raises(ValueError, match="the kind of database 'toy' is registered already"):
        DATABASES.register("toy", ToyDatabase())


def test_the_configuration_imports_no_log() -> None:
    folder = Path(loading.__file__).parent
    files = list(folder.glob("*.py"))
    assert files
    for file in files:
        assert "from ..log" not in file.read_text(), file
