"""flask-sse: a Flask generator for each client, subscribed to Redis."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..processes import Processes, free_port
from ..system import Server, Setting, System, app_environment
from .servers import gunicorn_command


class FlaskSSE(System):
    """Its blueprint on gunicorn, with a Redis of its own that keeps nothing."""

    name = "flask-sse"
    about = "gunicorn gthread and Redis pub/sub, a thread and a subscription a client; at most 500"
    packages = ("Flask-SSE", "redis", "Flask", "gunicorn")
    modules = ("flask_sse", "gunicorn")
    most_clients = 500
    # Its first bytes are the first event's.
    greets = False

    def missing(self, project: Path) -> str | None:
        if not shutil.which("redis-server"):
            return "redis-server not installed: apt-get install redis-server"
        return super().missing(project)

    def start(self, setting: Setting) -> Server:
        redis_port, port = free_port(), free_port()
        redis = Processes(
            ["redis-server", "--port", str(redis_port), "--save", "", "--appendonly", "no"],
            setting.folder,
            redis_port,
        )
        environment = {
            **app_environment(),
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        }
        command = gunicorn_command("bench.peers.apps.flask_sse_app:app", port, setting.clients)
        try:
            processes = Processes(command, setting.folder, port, environment)
        except BaseException:
            redis.stop()
            raise
        return Server(port, processes, "/publish", "/stream", 1, {"redis": redis})
