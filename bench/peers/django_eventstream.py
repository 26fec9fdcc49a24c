"""django-eventstream on uvicorn: Django's streaming responses over asyncio."""

from __future__ import annotations

from ..processes import Processes, free_port
from ..system import Server, Setting, System, app_environment
from .servers import uvicorn_command


class DjangoEventstream(System):
    """Its ``/events/`` endpoint, and a view that calls ``send_event``."""

    name = "django-eventstream"
    about = "Django on uvicorn (uvloop, httptools); no storage, 10 events may wait for a client"
    packages = ("django-eventstream", "Django", "uvicorn")
    modules = ("django_eventstream", "uvicorn")

    def start(self, setting: Setting) -> Server:
        port = free_port()
        command = uvicorn_command("bench.peers.apps.django_app:app", port)
        processes = Processes(command, setting.folder, port, app_environment())
        return Server(port, processes, "/publish", "/events/", 1)
