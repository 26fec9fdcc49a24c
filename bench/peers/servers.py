"""The command lines of the servers that several peers run on."""

from __future__ import annotations

from ..processes import python


def uvicorn_command(app: str, port: int) -> list[str]:
    """Return a uvicorn of one process without an access log.

    It takes uvloop and httptools by itself where they are installed.
    """
    return python(
        "-m", "uvicorn", app, "--port", str(port), "--no-access-log", "--log-level", "warning"
    )


def gunicorn_command(app: str, port: int, clients: int) -> list[str]:
    """Return a gunicorn with one gthread worker, and threads for so many clients and some more."""
    threads = clients + 16
    return python(
        *("-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
        *("--workers", "1", "--threads", str(threads)),
        *("--worker-connections", str(threads + 64), "--worker-tmp-dir", "/dev/shm"),
        *("--graceful-timeout", "1", "--no-control-socket", "--log-level", "warning", app),
    )
