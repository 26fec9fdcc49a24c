"""What replays cost, and what they cost others: ``python -m bench.replay [EVENTS [FOLDER]]``.

One worker, started as the benchmark starts it, over a log with so many events (a million by
default). Prints how fast one client catches up, and the latency of a hundred live clients
without replays and while ten clients replay the whole log again and again.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flask_sse_sink.event import decode
from flask_sse_sink.log.sqlite import SQLiteLog

from .measure import Measurement, Row
from .peers.sse_sink import SSESink
from .processes import python
from .scenarios import Scenario
from .system import EVENT_TYPE, ROOT, Server, Setting, new_event

_READERS = 10
_LIVE = Scenario(name="live", kind="fanout", clients=100, rate=20, seconds=10)
_FULL = Scenario(name="live-flat", kind="fanout", clients=100, batch=100, seconds=3)
_SIZE = 1 << 20
_RARE = f"{EVENT_TYPE}.rare"


class Kept(SSESink):
    """This project with a sink that replays, over a log that holds ``events`` events.

    ``readers`` clients replay them again and again from then on.
    """

    sink = ", replay: true"

    def __init__(self, log: Path, readers: int = 0) -> None:
        self._log = log
        self._readers = readers

    def start(self, setting: Setting) -> Server:
        for suffix in ("", "-wal", "-shm"):
            source = self._log.with_name(self._log.name + suffix)
            if source.exists():
                (setting.folder / f"events.db{suffix}").write_bytes(source.read_bytes())
        server = super().start(setting)
        if self._readers:
            spec = json.dumps([server.port, self._readers])
            self._reading = subprocess.Popen(
                python("-m", "bench.replay", "--read", spec), cwd=ROOT, stdout=subprocess.PIPE
            )
            assert self._reading.stdout is not None
            self._reading.stdout.readline()
        return server

    def stop_readers(self) -> int:
        """End the readers, and return how many bytes they have read."""
        self._reading.terminate()
        out, _ = self._reading.communicate()
        return int(out.split()[-1])


def fill(log: Path, events: int) -> None:
    """Store so many events, every hundredth of a type of its own."""
    batch = [new_event(EVENT_TYPE)] * 99 + [new_event(_RARE)]
    body = f"[{','.join(batch)}]".encode()
    made = SQLiteLog(log)
    for done in range(0, events, 1000):
        made.append([event for _ in range(10) for event in decode(body)])
        if done % 100_000 == 0:
            print(f"\rstoring {done:,} of {events:,} events", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)
    made.close()


def _open(port: int, query: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(f"GET /events_stream/?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return made


def catch_up(server: Server, after: int, head: int, query: str = "") -> tuple[float, float, int]:
    """Return the seconds it took to read all events up to this one, the server's, and bytes."""
    end, tail, size = b"id: %d\n" % head, b"", 0
    cpu, began = server.processes.cpu_seconds(), time.perf_counter()
    with _open(server.port, f"last_event_id={after}{query}") as reader:
        while end not in tail:
            data = reader.recv(_SIZE)
            if not data:
                raise RuntimeError("the server ended the stream")
            tail = tail[-100:] + data[-1000:] if len(data) >= 1000 else tail[-1000:] + data
            size += len(data)
        seconds = time.perf_counter() - began
    return seconds, server.processes.cpu_seconds() - cpu, size


def read_on(port: int, readers: int) -> None:
    """Replay everything with so many clients, again and again, until it is terminated."""
    import selectors
    import signal

    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    ready = selectors.DefaultSelector()
    last: dict[socket.socket, float] = {}

    def open_one() -> None:
        made = _open(port, f"last_event_id=earliest&event_type={EVENT_TYPE},{_RARE}")
        ready.register(made, selectors.EVENT_READ)
        last[made] = time.monotonic()

    for _ in range(readers):
        open_one()
    size, buffer = 0, bytearray(_SIZE)
    print("reading", flush=True)
    while not stopped:
        for key, _ in ready.select(0.05):
            got = key.fileobj.recv_into(buffer)  # type: ignore[union-attr] # a socket
            size += got
            if got > 2000:
                last[key.fileobj] = time.monotonic()  # type: ignore[index] # a socket
        now = time.monotonic()
        for made in [made for made, at in last.items() if now - at > 1]:
            # It has all, and gets live events now.
            ready.unregister(made)
            made.close()
            del last[made]
            open_one()
    print(size, flush=True)


def _live(log: Path, folder: Path, readers: int) -> tuple[Row, Row, float]:
    folder.mkdir()
    system = Kept(log, readers)
    setting = Setting(folder=folder, clients=120, workers=None, project=ROOT)
    began = time.monotonic()
    calm, full = Measurement(system, setting, [_LIVE, _FULL]).run()
    rate = 0.0
    if readers:
        rate = system.stop_readers() / (time.monotonic() - began)
    return calm, full, rate


def main(events: int, folder: Path) -> None:
    """Measure over a log with so many events, kept in the folder."""
    log = folder / "log.db"
    fill(log, events)
    at = folder / "one"
    at.mkdir()
    server = Kept(log).start(Setting(folder=at, clients=20, workers=None, project=ROOT))
    try:
        catch_up(server, events - 1000, events)
        print("one client catches up          seconds   events/s   CPU us an event   MiB")
        for count, query, share in (
            (min(100_000, events), "", 1),
            (events, "", 1),
            (events, f"&event_type={_RARE}", 100),
        ):
            took, cpu, size = catch_up(server, events - count, events, query)
            got = count // share
            what = f"{got:,} of {count:,}"
            print(
                f"  {what:28} {took:7.2f} {got / took:10,.0f} {cpu / got * 1e6:17.2f} "
                f"{size / 2**20:5.0f}"
            )
        print(f"  the server's memory after it: {server.processes.pss_kib() / 1024:.0f} MiB")
    finally:
        server.stop()
    print("100 live clients               p50 ms    p99 ms   CPU us a delivery   replayed MiB/s")
    for readers in (0, _READERS):
        calm, full, rate = _live(log, folder / f"live{readers}", readers)
        for row, what in ((calm, "20 events/s"), (full, "batches of 100, flat out")):
            name = f"{what}, {readers} replays"
            print(
                f"  {name:28} {row.p50_ms:7.2f} {row.p99_ms:9.2f} {row.cpu_us:19.2f} "
                f"{rate / 2**20:16.0f} {'; '.join(row.notes)}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read_on(*json.loads(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as made:
            main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, Path(made))
