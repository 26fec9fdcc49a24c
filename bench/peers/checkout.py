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
    """More settings of the server, in YAML."""
    app = "wsgi:app"
    options: Sequence[str] = ()
    """Of gunicorn's command line."""
    publish = "/ingest"
    stream = "/events_stream/"

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
        return Server(nodes=[node], publish=self.publish, stream=self.stream, workers=workers)

    def _node(
        self, setting: Setting, stack: contextlib.ExitStack, folder: Path, url: str, workers: int
    ) -> Processes:
        """Start one node, with its log at the URL."""
        port = free_port()
        config = folder / "config.yaml"
        sink = json.dumps({"type": "sse", "heartbeat_timeout": 30, **setting.sink})
        config.write_text(
            f"server: {{port: {port}, workers: {workers}, "
            f"max_clients: {setting.clients + 16}{self.settings}}}\n"
            f"database: {{url: '{url}'}}\n"
            "ingest: {auth: none}\n"
            f"sink: {{events_stream: {sink}}}\n"
        )
        command = python("-m", "gunicorn", "-c", str(self.project / "gunicorn.conf.py"))
        command += ["--chdir", str(folder), *self.options, self.app]
        environment = {**self._environment(), "SSE_SINK_CONFIG": str(config)}
        return stack.enter_context(Processes(command, folder, port, environment))

    def _environment(self) -> dict[str, str]:
        return python_environment(self.project)

    def item(self, event_type: str, entity_id: str | None = None) -> str:
        return new_event(event_type, entity_id=entity_id)

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


class OnOurServer(SSESink):
    """Another app on this project's gunicorn settings, without its extension.

    ``options`` may take gunicorn's own worker class in place of this project's.
    """

    packages = ("Flask", "gunicorn")

    def __init__(
        self, name: str, about: str, project: Path, *, app: str, options: str = ""
    ) -> None:
        super().__init__(project)
        self.name = name
        self.about = about
        self.app = f"{app}:app"
        self.options = options.split()

    def _environment(self) -> dict[str, str]:
        # The other checkout's benchmark may not have the app.
        return python_environment(self.project, ROOT / "bench" / "peers" / "apps")


class Generator(OnOurServer):
    """Plain Flask generators, see ``apps/generator_app.py``."""

    publish = "/publish"
    stream = "/events"

    def item(self, event_type: str, entity_id: str | None = None) -> str:
        # It publishes what it is sent, so it is sent an envelope.
        return System.item(self, event_type, entity_id)


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
