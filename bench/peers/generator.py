"""The plain way in Flask: a generator over a queue for each client, and nothing else."""

from __future__ import annotations

from ..processes import Processes, free_port
from ..system import Server, Setting, System, app_environment
from .servers import gunicorn_command


class Generator(System):
    """Flask on gunicorn's gthread worker with a ``queue.Queue`` a client."""

    name = "generator"
    about = "plain Flask generators on gunicorn gthread; a queue and a thread a client, no log"
    packages = ("Flask", "gunicorn")
    modules = ("flask", "gunicorn")

    def start(self, setting: Setting) -> Server:
        port = free_port()
        command = gunicorn_command("bench.peers.apps.generator_app:app", port, setting.clients)
        processes = Processes(command, setting.folder, port, app_environment())
        return Server(port, processes, "/publish", "/events", 1)
