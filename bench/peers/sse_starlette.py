"""sse-starlette on uvicorn: asyncio, one queue a client."""

from __future__ import annotations

from ..processes import Processes, free_port
from ..system import Server, Setting, System, app_environment
from .servers import uvicorn_command


class SSEStarlette(System):
    """An ``EventSourceResponse`` over an ``asyncio.Queue`` for each client."""

    name = "sse-starlette"
    about = "asyncio on uvicorn (uvloop, httptools); a queue a client, no log"
    packages = ("sse-starlette", "starlette", "uvicorn", "uvloop", "httptools")
    modules = ("sse_starlette", "uvicorn")

    def start(self, setting: Setting) -> Server:
        port = free_port()
        command = uvicorn_command("bench.peers.apps.starlette_app:app", port)
        processes = Processes(command, setting.folder, port, app_environment())
        return Server(port, processes, "/publish", "/events", 1)
