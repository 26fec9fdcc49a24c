"""This project, as it is in a checkout: gunicorn, set up by the project's own configuration."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..processes import Processes, free_port, python
from ..system import EVENT_TYPE, ROOT, Server, Setting, System, new_event, python_environment
from .redis import redis_missing, redis_server


class SSESink(System):
    """The server as ``gunicorn wsgi:app`` starts it."""

    name = "sse-sink"
    about = "this project on gunicorn gthread; SQLite log, each commit synced"
    packages: Sequence[str] = ("flask-sse-sink", "Flask", "gunicorn", "msgspec")
    settings = ""

    def __init__(self, project: Path) -> None:
        self.project = project

    def missing(self) -> str | None:
        if not (self.project / "gunicorn.conf.py").exists():
            return f"{self.project} is no checkout of this project: give another with --project"
        return None

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        workers = setting.workers or 1
        url = f"sqlite:///{setting.folder / 'events.db'}"
        node = self._node(setting, stack, setting.folder, url, workers)
        return Server(nodes=[node], publish="/ingest", stream="/events_stream/", workers=workers)

    def _node(
        self, setting: Setting, stack: contextlib.ExitStack, folder: Path, url: str, workers: int
    ) -> Processes:
        """Start one node, with its log at the URL."""
        port = free_port()
        config = folder / "config.yaml"
        replay = ", replay: true" if setting.replay else ""
        config.write_text(
            f"server: {{port: {port}, workers: {workers}, "
            f"max_clients: {setting.clients + 16}{self.settings}}}\n"
            f"database: {{url: '{url}'}}\n"
            "ingest: {auth: none}\n"
            f"sink: {{events_stream: {{type: sse, heartbeat_timeout: 30{replay}}}}}\n"
        )
        command = python("-m", "gunicorn", "-c", str(self.project / "gunicorn.conf.py"))
        environment = {**python_environment(self.project), "SSE_SINK_CONFIG": str(config)}
        return stack.enter_context(
            Processes([*command, "--chdir", str(folder), "wsgi:app"], folder, port, environment)
        )

    def item(self, event_type: str) -> str:
        return new_event(event_type)

    def steps(self, batch: int, folder: Path) -> dict[str, float]:
        # -P, as Python would otherwise import from the script's folder.
        command = python("-P", str(ROOT / "bench" / "steps.py"), str(batch), new_event(EVENT_TYPE))
        ran = self._run(command, folder)
        if ran.returncode:
            raise RuntimeError(f"bench/steps.py failed with {self.project}:\n{ran.stderr[-2000:]}")
        found: dict[str, float] = json.loads(ran.stdout)
        return found

    def _run(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **python_environment(self.project)}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


class SSESinkQueue(SSESink):
    """The same, with every frame passed to its client's thread."""

    name = "sse-sink-queue"
    about = "the same, with direct send off: a thread wakes for each delivery"
    settings = ", direct_send: false"


class SSESinkRedis(SSESink):
    """The same with its log in Redis, and several nodes with a worker each."""

    packages = (*SSESink.packages, "redis", "hiredis")

    def __init__(self, name: str, project: Path, nodes: int, fsync: str = "everysec") -> None:
        super().__init__(project)
        self.name = name
        self.about = f"this project, log in Redis with `appendfsync {fsync}`, nodes: {nodes}"
        self._nodes = nodes
        self._fsync = fsync

    def missing(self) -> str | None:
        return redis_missing() or super().missing()

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        options = ("--appendonly", "yes", "--appendfsync", self._fsync)
        redis = stack.enter_context(redis_server(setting.folder, *options))
        nodes = []
        for number in range(self._nodes):
            folder = setting.folder / f"node{number}"
            folder.mkdir()
            url = f"redis://127.0.0.1:{redis.port}/0"
            nodes.append(self._node(setting, stack, folder, url, 1))
        return Server(
            nodes=nodes, publish="/ingest", stream="/events_stream/", helpers={"redis": redis}
        )
