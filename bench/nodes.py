"""What Redis adds, and what more nodes bring: ``python -m bench.nodes [FOLDER]``.

One machine, one worker a node, 100 clients that are spread over the nodes. Events are POSTed to
the first node alone where latencies are told, and to all of them where it is told how many
events they take in.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .board import Board
from .measure import Measurement, publish
from .peers.sse_sink import SSESink, SSESinkRedis
from .publisher import Spec
from .scenarios import Scenario
from .system import EVENT_TYPE, ROOT, Setting

_CLIENTS = 100
_CALM = Scenario(name="calm", kind="fanout", clients=_CLIENTS, rate=20, seconds=5)
_BATCHES = Scenario(name="batches", kind="fanout", clients=_CLIENTS, batch=100, seconds=4)
_SECONDS = 4.0


def _take_in(system: SSESink, setting: Setting, batch: int) -> float:
    """Return how many events a second all nodes together take in, with four connections each."""
    server = system.start(setting)
    board = Board(setting.folder / "board")
    try:
        ports = [server.port, *server.more]
        specs = [
            Spec(
                port=port,
                path=server.publish,
                board=str(board.path),
                items=[system.item(EVENT_TYPE)],
                batch=batch,
                connections=4,
                seconds=_SECONDS,
            )
            for port in ports
        ]
        with ThreadPoolExecutor(len(specs)) as pool:
            reports = list(pool.map(publish, specs))
        failed = sum(report.failed for report in reports)
        if failed:
            raise RuntimeError(f"{failed} POSTs failed: {reports[0].error}")
        return sum(report.events / report.seconds for report in reports)
    finally:
        board.close()
        server.stop()


def main(base: Path) -> None:
    """Measure one system after the other, with their files in the folder."""
    systems = [SSESink(), SSESinkRedis(1, "always")]
    systems += [SSESinkRedis(nodes) for nodes in (1, 2, 4)]
    print(
        "                         20 events/s                  batches of 100           "
        "taken in, events/s\n"
        "                     p50 ms   p99 ms  Redis us each   deliveries/s  CPU us each     "
        "single   batches of 100"
    )
    for number, system in enumerate(systems):

        def setting(what: str, number: int = number) -> Setting:
            folder = base / f"{number}-{what}"
            folder.mkdir()
            return Setting(folder=folder, clients=_CLIENTS + 20, workers=None, project=ROOT)

        calm, full = Measurement(system, setting("streams"), [_CALM, _BATCHES]).run()
        single = _take_in(system, setting("single"), 0)
        batches = _take_in(system, setting("batches"), 100)
        cpu = (full.cpu_us or 0) + sum(
            cost for name, cost in full.helper_cpu_us.items() if name != "redis"
        )
        redis = calm.helper_cpu_us.get("redis", 0) * _CLIENTS
        print(
            f"  {system.name:18} {calm.p50_ms:6.2f} {calm.p99_ms:8.2f} {redis:14.0f} "
            f"{full.deliveries_per_second:14,.0f} {cpu:12.2f} {single:10,.0f} {batches:16,.0f}"
            f"  {'; '.join([*calm.notes, *full.notes])}",
            flush=True,
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))
