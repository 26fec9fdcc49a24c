"""Measures one system with the scenarios that can share a server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .board import CAPACITY, Board
from .clients import Clients
from .processes import python
from .publisher import PLACE, Report, Spec
from .scenarios import WINDOW, Scenario
from .system import EVENT_TYPE, ROOT, Server, Setting, System
from .wire import WARM_UP

_STALL_SECONDS = 1.0
_DRAIN_SECONDS = 8.0
_WARM_UP_SECONDS = 60.0
_FIRST = 16


@dataclass(kw_only=True)
class Row:
    """What was measured; ``None`` where a scenario doesn't have it."""

    system: str
    scenario: str
    clients: int
    workers: int
    producers: int | None = None
    batch: int | None = None
    filters: int | None = None
    rate: float | None = None
    seconds: float | None = None
    """From the first POST until the publisher had ended and the last delivery was made."""
    events: int | None = None
    events_per_second: float | None = None
    deliveries: int | None = None
    deliveries_per_second: float | None = None
    missing: int | None = None
    """Deliveries that should have been and weren't."""
    repeated: int | None = None
    """Deliveries beyond one an event and client."""
    cpu_us: float | None = None
    """Processor time of the server, user and system: a delivery, or an event where nobody
    listens or a filter stands between."""
    cpu_us_per_event: float | None = None
    helper_cpu_us: dict[str, float] = field(default_factory=dict)
    cpu_percent: float | None = None
    """Of one core, the server's."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    bytes_per_delivery: float | None = None
    load_cpu_us: float | None = None
    """Processor time of the load generator itself, a delivery."""
    load_percent: float | None = None
    """Of one core, the load generator's; near 100 it was the limit, not the server."""
    connects_per_second: float | None = None
    memory_kib: float | None = None
    """What a client adds to the server's proportional set size, after its first event."""
    helper_memory_kib: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Measurement:
    """A running server of one system with its clients."""

    def __init__(self, system: System, setting: Setting, scenarios: Sequence[Scenario]) -> None:
        self._system = system
        self._setting = setting
        self._scenarios = scenarios
        self._next = 0

    def run(self) -> Iterator[Row]:
        """Yield a row for each scenario.

        :raises RuntimeError: the server didn't start.
        :raises OSError: it doesn't take connections.
        """
        wanted = min(max(each.clients for each in self._scenarios), self._setting.clients)
        filters, others = self._scenarios[0].filters, self._scenarios[0].others
        folder = self._setting.folder
        with contextlib.ExitStack() as stack:
            server = self._system.start(self._setting)
            stack.callback(server.stop)
            board = Board(folder / "board")
            stack.callback(board.close)
            ports = [server.port, *server.more]
            clients = Clients(ports, board)
            stack.callback(clients.close)
            for each in self._scenarios:
                if each.kind == "ingest":
                    yield self._ingest(server, board, each)
            if not wanted:
                return
            kinds = [index % filters if filters else None for index in range(wanted - others)]
            kinds += range(filters, filters + others)
            paths = [self._path(server, kind) for kind in kinds]
            # What the first clients cost once, such as code that is loaded, no client costs again.
            with contextlib.closing(Clients(ports, board)) as first:
                first.connect(paths[:_FIRST], greeted=self._system.greets)
                self._warm_up(server, board, first, filters)
            time.sleep(0.5)
            clients.connect(paths[: len(ports)], greeted=self._system.greets)
            self._warm_up(server, board, clients, filters)
            before = server.processes.pss_kib()
            helpers_before = {name: each.pss_kib() for name, each in server.helpers.items()}
            connect_cpu = server.processes.cpu_seconds()
            seconds = 0.0
            if wanted > len(ports):
                seconds = clients.connect(paths[len(ports) :], greeted=self._system.greets)
            connect_cpu = server.processes.cpu_seconds() - connect_cpu
            clients.cool()
            self._warm_up(server, board, clients, filters + others)
            for each in self._scenarios:
                row = self._row(server, each, len(clients))
                if each.kind == "connect":
                    if self._system.greets:
                        row.seconds = seconds
                        row.connects_per_second = (wanted - 1) / seconds
                        row.cpu_us = connect_cpu / (wanted - 1) * 1e6
                    else:
                        row.notes.append("sends nothing before the first event")
                elif each.kind == "memory":
                    row.memory_kib = (server.processes.pss_kib() - before) / (wanted - 1)
                    row.helper_memory_kib = {
                        name: (each.pss_kib() - helpers_before[name]) / (wanted - 1)
                        for name, each in server.helpers.items()
                    }
                elif each.kind == "idle":
                    self._idle(server, clients, row, each.seconds)
                elif each.kind == "fanout":
                    self._fanout(server, board, clients, row, each)
                else:
                    continue
                yield row

    def _row(self, server: Server, scenario: Scenario, clients: int) -> Row:
        return Row(
            system=self._system.name,
            scenario=scenario.name,
            clients=clients,
            workers=server.workers,
        )

    @staticmethod
    def _path(server: Server, kind: int | None) -> str:
        query = "" if kind is None else f"?event_type={EVENT_TYPE}.{kind}"
        return server.stream + query

    def _items(self, filters: int) -> list[str]:
        if not filters:
            return [self._system.item(EVENT_TYPE)]
        return [self._system.item(f"{EVENT_TYPE}.{number}") for number in range(filters)]

    def _spec(self, server: Server, board: Board, scenario: Scenario) -> Spec:
        return Spec(
            port=server.port,
            path=server.publish,
            board=str(board.path),
            items=self._items(scenario.filters),
            batch=scenario.batch,
            seconds=scenario.seconds,
        )

    def _warm_up(self, server: Server, board: Board, clients: Clients, filters: int) -> None:
        """Publish events until every client has been delivered one."""
        until = time.monotonic() + _WARM_UP_SECONDS
        spec = Spec(
            port=server.port,
            path=server.publish,
            board=str(board.path),
            items=self._items(filters),
            seconds=max(0.3, filters / 400),
            rate=max(4, filters * 2 / max(0.3, filters / 400)),
            fixed=WARM_UP,
        )
        while clients.warm < len(clients):
            if time.monotonic() > until:
                raise RuntimeError(f"{len(clients) - clients.warm} clients got no event at all")
            with _publisher(spec) as process:
                _go(process)
                while not clients.pass_on(5.0, also=_output(process)):
                    pass
                report = _report(process)
            if report.failed:
                raise RuntimeError(f"publishing failed: {report.error}")
            clients.pass_on(0.5)
        if clients.ended:
            raise RuntimeError(f"{len(clients.ended)} streams ended: {clients.ended[0]}")
        clients.pass_on(0.2)

    def _ingest(self, server: Server, board: Board, scenario: Scenario) -> Row:
        row = self._row(server, scenario, 0)
        spec = self._spec(server, board, scenario)
        spec.connections = scenario.producers
        with _publisher(spec) as process:
            used = _Used(server)
            _go(process)
            report = _report(process)
            used.stop()
        row.producers, row.batch = scenario.producers, scenario.batch or 1
        row.events, row.seconds = report.events, report.seconds
        row.events_per_second = report.events / report.seconds
        used.tell(row, report.events, report.seconds)
        row.load_percent = 100 * report.cpu_seconds / report.seconds
        if report.failed:
            row.notes.append(f"{report.failed} POSTs failed: {report.error}")
        return row

    def _idle(self, server: Server, clients: Clients, row: Row, seconds: float) -> None:
        used = _Used(server)
        clients.pass_on(seconds)
        used.stop()
        used.tell(row, 0, seconds)
        row.seconds = seconds

    def _fanout(
        self, server: Server, board: Board, clients: Clients, row: Row, scenario: Scenario
    ) -> None:
        expected = [len(clients)]
        first = self._next
        if scenario.filters:
            of = [index % scenario.filters for index in range(len(clients) - scenario.others)]
            expected = [of.count(number) for number in range(scenario.filters)]
            # Event number n is of type n % filters, from the first on.
            first += -first % scenario.filters
        spec = self._spec(server, board, scenario)
        spec.rate = scenario.rate
        spec.window = 0 if scenario.rate else WINDOW if not scenario.batch else 2
        # Several, so that an answer which waits for the clients doesn't hold the next event up.
        spec.connections = 1 if 0 < scenario.rate <= 2 else 4
        batch = scenario.batch or 1
        pending = 0
        spec.first = first
        clients.begin(first)
        with _publisher(spec) as process:

            def completed(events: int) -> None:
                nonlocal pending
                pending += events
                if spec.window and pending >= batch:
                    _leave(process, pending // batch)
                    pending %= batch

            used = _Used(server)
            _go(process)
            began, seen, stalls = time.monotonic(), 0, 0
            while not clients.pass_on(_STALL_SECONDS, expected, completed, _output(process)):
                if clients.reads == seen and spec.window:
                    # Something was lost: what remains on its way is written off.
                    stalls += 1
                    _leave(process, spec.window)
                seen = clients.reads
                if time.monotonic() - began > scenario.seconds + 30:
                    raise RuntimeError("the publisher hasn't ended 30 s after its time")
            report = _report(process)
            due = _expected(report.events, expected)
            until = time.monotonic() + _DRAIN_SECONDS
            while len(clients.latencies) < due and time.monotonic() < until:
                seen = clients.reads
                clients.pass_on(0.25, expected)
                if clients.reads == seen and time.monotonic() > until - _DRAIN_SECONDS / 2:
                    break
            used.stop()
        self._next = first + report.events
        self._tell(row, board, clients, scenario, first, report, expected, used)
        if stalls:
            row.notes.append(f"stalled {stalls} times for events that were lost")
        clients.pass_on(0.3)

    def _tell(
        self,
        row: Row,
        board: Board,
        clients: Clients,
        scenario: Scenario,
        first: int,
        report: Report,
        expected: Sequence[int],
        used: _Used,
    ) -> None:
        due = _expected(report.events, expected)
        deliveries = len(clients.latencies)
        row.batch, row.filters = scenario.batch or 1, scenario.filters + scenario.others
        row.rate = scenario.rate or None
        row.events, row.deliveries = report.events, deliveries
        numbers = range(first, first + report.events)
        short = [max(expected[n % len(expected)] - clients.counts[n], 0) for n in numbers]
        row.missing = sum(short)
        row.repeated = deliveries + row.missing - due
        per_client = max(clients.received.values(), default=0)
        if not scenario.filters and per_client > report.events:
            row.notes.append("a client was delivered more events than were published")
        if report.failed:
            row.notes.append(f"{report.failed} POSTs failed: {report.error}")
        if clients.ended:
            row.notes.append(f"{len(clients.ended)} streams ended: {clients.ended[0]}")
        if not deliveries:
            row.notes.append("nothing was delivered")
            return
        row.seconds = max((clients.last_ns - board.sent[first]) / 1e9, report.seconds)
        row.deliveries_per_second = deliveries / row.seconds
        row.events_per_second = report.events / row.seconds
        times = sorted(clients.latencies)
        row.p50_ms = times[deliveries // 2] / 1e6
        row.p99_ms = times[min(deliveries * 99 // 100, deliveries - 1)] / 1e6
        row.bytes_per_delivery = clients.bytes / deliveries
        used.tell(row, deliveries, row.seconds)
        row.cpu_us_per_event = used.server * 1e6 / max(report.events, 1)
        row.load_cpu_us = used.own * 1e6 / deliveries
        row.load_percent = 100 * used.own / used.seconds
        if scenario.rate and report.events < 0.95 * scenario.rate * scenario.seconds:
            row.notes.append(
                f"fell behind: {report.events / report.seconds:.1f} of "
                f"{scenario.rate:g} events/s were taken"
            )


class _Used:
    """The processor time that the server, its helpers and this process use from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began = time.monotonic()
        self._own = time.process_time()
        self._server_before = server.processes.cpu_seconds()
        self._before = {name: each.cpu_seconds() for name, each in server.helpers.items()}

    def stop(self) -> None:
        self.own = time.process_time() - self._own
        self.seconds = time.monotonic() - self._began
        self.server = self._server.processes.cpu_seconds() - self._server_before
        self.helpers = {
            name: each.cpu_seconds() - self._before[name]
            for name, each in self._server.helpers.items()
        }

    def tell(self, row: Row, things: int, seconds: float) -> None:
        row.cpu_percent = 100 * self.server / self.seconds
        if things:
            row.cpu_us = self.server * 1e6 / things
            row.helper_cpu_us = {name: own * 1e6 / things for name, own in self.helpers.items()}


def _expected(events: int, expected: Sequence[int]) -> int:
    whole, rest = divmod(events, len(expected))
    return whole * sum(expected) + sum(expected[:rest])


@contextlib.contextmanager
def _publisher(spec: Spec) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a publisher that is connected and waits for :func:`_go`."""
    assert PLACE in spec.items[0]
    process = subprocess.Popen(
        python("-m", "bench.publisher", json.dumps(asdict(spec))),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the publisher couldn't connect")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def _go(process: subprocess.Popen[bytes]) -> None:
    _write(process, b"\n")


def _leave(process: subprocess.Popen[bytes], requests: int) -> None:
    _write(process, b"." * requests)


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(data)


def _output(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout
    return process.stdout.fileno()


def _report(process: subprocess.Popen[bytes]) -> Report:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the publisher ended without a report")
    return Report(**json.loads(line))


def publish(spec: Spec) -> Report:
    """Publish as specified, and return what came of it."""
    with _publisher(spec) as process:
        _go(process)
        return _report(process)


def folder_for(base: Path, name: str) -> Path:
    """Return a new folder for one server."""
    made = base / name
    made.mkdir()
    return made


assert CAPACITY < WARM_UP
