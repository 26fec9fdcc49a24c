"""The peers in Python: small apps (``apps/``) on uvicorn, or on gunicorn's gthread worker."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..processes import Processes, free_port, python
from ..system import ROOT, Server, Setting, System, python_environment
from .redis import redis_missing, redis_server


class PythonApp(System):
    """An app of ``apps/`` with one worker process."""

    def __init__(
        self,
        name: str,
        about: str,
        *,
        app: str,
        on: str,
        packages: Sequence[str],
        modules: Sequence[str],
        stream: str = "/events",
    ) -> None:
        self.name = name
        self.about = about
        self.packages = (*packages, on)
        self.modules = (*modules, on)
        self._app = f"bench.peers.apps.{app}:app"
        self._on = on
        self._stream = stream

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        return Server(nodes=[self._serve(setting, stack)], stream=self._stream)

    def _serve(
        self, setting: Setting, stack: contextlib.ExitStack, **environment: str
    ) -> Processes:
        port = free_port()
        command = _uvicorn(port) if self._on == "uvicorn" else _gunicorn(port, setting.clients)
        environment |= python_environment(ROOT)
        return stack.enter_context(
            Processes([*command, self._app], setting.folder, port, environment)
        )


class FlaskSSE(PythonApp):
    """flask-sse, with a Redis of its own that saves nothing."""

    most_clients = 500
    # Its first bytes are the first event's.
    greets = False

    def missing(self) -> str | None:
        return redis_missing() or super().missing()

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        redis = stack.enter_context(redis_server(setting.folder, "--appendonly", "no"))
        app = self._serve(setting, stack, REDIS_URL=f"redis://127.0.0.1:{redis.port}")
        return Server(nodes=[app], stream=self._stream, helpers={"redis": redis})


def _uvicorn(port: int) -> list[str]:
    """Return the command of a uvicorn, which takes uvloop and httptools if they are installed."""
    quiet = ("--no-access-log", "--log-level", "warning")
    return python("-m", "uvicorn", "--port", str(port), *quiet)


def _gunicorn(port: int, clients: int) -> list[str]:
    """Return the command of a gunicorn with a thread for each client, and some more."""
    threads = clients + 16
    options = {
        "bind": f"127.0.0.1:{port}",
        "worker-class": "gthread",
        "workers": 1,
        "threads": threads,
        "worker-connections": threads + 64,
        "worker-tmp-dir": "/dev/shm",
        "graceful-timeout": 1,
        "log-level": "warning",
    }
    found = [f"--{name}={value}" for name, value in options.items()]
    return python("-m", "gunicorn", *found, "--no-control-socket")


PYTHON_APPS = (
    PythonApp(
        "sse-starlette",
        "asyncio on uvicorn (uvloop, httptools); a queue a client, no log",
        app="starlette_app",
        on="uvicorn",
        packages=("sse-starlette", "starlette", "uvloop", "httptools"),
        modules=("sse_starlette",),
    ),
    PythonApp(
        "django-eventstream",
        "Django on uvicorn (uvloop, httptools); no storage, 10 events may wait for a client",
        app="django_app",
        on="uvicorn",
        packages=("django-eventstream", "Django"),
        modules=("django_eventstream",),
        stream="/events/",
    ),
    FlaskSSE(
        "flask-sse",
        "gunicorn gthread and Redis pub/sub, a thread and a subscription a client; at most 500",
        app="flask_sse_app",
        on="gunicorn",
        packages=("Flask-SSE", "redis", "Flask"),
        modules=("flask_sse",),
        stream="/stream",
    ),
    PythonApp(
        "generator",
        "plain Flask generators on gunicorn gthread; a queue and a thread a client, no log",
        app="generator_app",
        on="gunicorn",
        packages=("Flask",),
        modules=("flask",),
    ),
)
