"""This project: gunicorn as its own configuration sets it up, every event committed and synced."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ..processes import Processes, free_port, python
from ..system import Server, Setting, System, new_event


class SSESink(System):
    """The server as ``gunicorn wsgi:app`` starts it."""

    name = "sse-sink"
    about = "this project on gunicorn gthread; SQLite log, each commit synced"
    packages = ("flask-sse-sink", "Flask", "gunicorn", "msgspec")
    batches = True
    filters = True
    settings = ""
    sink = ""

    def missing(self, project: Path) -> str | None:
        if not (project / "gunicorn.conf.py").exists():
            return f"{project} is no checkout of this project: set BENCH_PROJECT"
        return None

    def start(self, setting: Setting) -> Server:
        workers = setting.workers or 1
        url = f"sqlite:///{setting.folder / 'events.db'}"
        port, processes = self.node(setting, setting.folder, url, workers)
        return Server(port, processes, "/ingest", "/events_stream/", workers)

    def node(
        self, setting: Setting, folder: Path, url: str, workers: int
    ) -> tuple[int, Processes]:
        """Start a server whose log is at the URL; return its port and processes."""
        port = free_port()
        config = folder / "config.yaml"
        config.write_text(
            f"server: {{port: {port}, workers: {workers}, "
            f"max_clients: {setting.clients + 16}{self.settings}}}\n"
            f"database: {{url: '{url}'}}\n"
            "ingest: {auth: none}\n"
            f"sink: {{events_stream: {{type: sse, heartbeat_timeout: 30{self.sink}}}}}\n"
        )
        command = python("-m", "gunicorn", "-c", str(setting.project / "gunicorn.conf.py"))
        processes = Processes(
            [*command, "--chdir", str(folder), "wsgi:app"],
            folder,
            port,
            {**_environment(setting.project), "SSE_SINK_CONFIG": str(config)},
        )
        return port, processes

    def item(self, event_type: str) -> str:
        return new_event(event_type)


class SSESinkRedis(SSESink):
    """The same with its log in Redis, and so many nodes with a worker each."""

    packages = (*SSESink.packages, "redis", "hiredis")

    def __init__(self, nodes: int = 1, fsync: str = "everysec") -> None:
        self.name = f"{nodes} x redis {fsync}"
        self.about = f"{nodes} nodes on one Redis, `appendfsync {fsync}`"
        self._nodes = nodes
        self._fsync = fsync

    def missing(self, project: Path) -> str | None:
        if not shutil.which("redis-server"):
            return "redis-server not installed: apt-get install redis-server"
        return super().missing(project)

    def start(self, setting: Setting) -> Server:
        at = free_port()
        command = ["redis-server", "--port", str(at), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", self._fsync, "--dir", str(setting.folder)]
        redis = Processes(command, setting.folder, at)
        helpers = {"redis": redis}
        try:
            found = []
            for number in range(self._nodes):
                folder = setting.folder / f"node{number}"
                folder.mkdir()
                url = f"redis://127.0.0.1:{at}/0"
                found.append(self.node(setting, folder, url, 1))
                helpers[f"node{number}"] = found[-1][1]
        except BaseException:
            for each in helpers.values():
                each.stop()
            raise
        port, first = found[0]
        del helpers["node0"]
        more = [port for port, _ in found[1:]]
        return Server(port, first, "/ingest", "/events_stream/", 1, helpers, more)


class SSESinkQueue(SSESink):
    """The same, with every frame passed to its client's thread."""

    name = "sse-sink-queue"
    about = "the same, with direct send off: a thread wakes for each delivery"
    settings = ", direct_send: false"

    def missing(self, project: Path) -> str | None:
        return super().missing(project) or _no_direct_send(project)


def _environment(project: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(project), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _no_direct_send(project: Path) -> str | None:
    # In a process of its own, so that the checkout that is measured is the one that is asked.
    code = (
        "from flask_sse_sink.settings import ServerSettings as S; "
        "raise SystemExit('direct_send' not in S.__struct_fields__)"
    )
    found = subprocess.run(
        python("-c", code),
        # Python looks in the working folder before it looks in PYTHONPATH.
        cwd=project,
        env={**os.environ, **_environment(project)},
        stderr=subprocess.DEVNULL,
    )
    return "this checkout has no setting server.direct_send" if found.returncode else None
