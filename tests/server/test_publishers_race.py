"""Processes that publish at once: the relay of each delivers every event once, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROCESSES = 3
THREADS = 4
EACH = 60

CHILD = f"""
import json, sys, threading, time
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.publisher import Publisher
from flask_sse_sink.relay import Relay
from flask_sse_sink.submission import new_event

class Listener:
    def __init__(self):
        self.ids, self.problems = [], []
    def on_events(self, envelopes):
        for id, envelope in envelopes:
            self.ids.append(id)
            if json.loads(envelope)["id"] != id:
                self.problems.append("another event's envelope")
    def on_gap(self, first_id, last_id):
        self.problems.append(["gap", first_id, last_id])
    def on_log_replaced(self):
        self.problems.append("replaced")
    def on_tail(self):
        pass

log, listener = SQLiteLog(sys.argv[1]), Listener()
relay = Relay(log, listener)
relay.begin(0)
relay.start()
publisher = Publisher(log, relay)
own = []

def publish():
    for n in range({EACH}):
        result = publisher.publish([new_event("a.b") for _ in range(1 + n % 3)])
        own.extend(result.ids)
        # Delivered by the time that it is answered, or in delivery on another thread.

print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=publish) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done", flush=True)
total = int(sys.stdin.readline())
until = time.monotonic() + 10
while relay.cursor < total and time.monotonic() < until:
    time.sleep(0.01)
relay.stop()
log.close()
print(json.dumps([listener.ids, listener.problems, own]), flush=True)
"""


def test_every_process_delivers_what_all_published_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    total = PROCESSES * THREADS * sum(1 + n % 3 for n in range(EACH))

    def tell(line: str) -> None:
        for child in children:
            assert child.stdin is not None
            child.stdin.write(line)
            child.stdin.flush()

    def answers() -> list[str]:
        return [child.stdout.readline() if child.stdout else "" for child in children]

    try:
        assert answers() == ["ready\n"] * PROCESSES
        tell("\n")
        assert answers() == ["done\n"] * PROCESSES
        tell(f"{total}\n")
        reports = [json.loads(each) for each in answers()]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    everything = list(range(1, total + 1))
    assert sorted(id for _, _, own in reports for id in own) == everything
    for ids, problems, _ in reports:
        assert problems == []
        assert ids == everything
