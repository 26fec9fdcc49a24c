"""The programs in ``examples``, served by gunicorn."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from support.access import Browser
from support.processes import ROOT, Process, environment, free_port
from support.stream import SocketStream
from support.waiting import wait_until


class Example(Process):
    """An example, served by gunicorn with two workers."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_port()
        (folder / "example.conf.py").write_text("control_socket_disable = True\n")
        words = [sys.executable, "-m", "gunicorn", "--chdir", str(ROOT / "examples")]
        words += ["-c", str(folder / "example.conf.py"), "-b", f"127.0.0.1:{self.port}", "-w", "2"]
        words += ["-k", "flask_sse_sink.worker.StreamWorker", "--threads", "40"]
        more = {
            "SECRET_KEY": "a-key-of-the-tests",
            "ACCESS_SECRET": "a-secret-of-the-tests-with-32-bytes-and-more",
            "DATABASE_URL": f"sqlite:///{folder}/events.db",
            "STEP_SECONDS": "0.02",
        }
        super().__init__(
            [*words, "--access-logfile", "-", f"{name}:app"],
            folder,
            environment(folder / "none.yaml", **more),
        )
        try:
            wait_until(self._is_up, "the example answers")
        except BaseException:
            self.stop()
            raise

    def _is_up(self) -> bool:
        assert not self.is_gone, self.log
        with contextlib.suppress(OSError):
            return Browser(self.port).send("/")[0] == 200
        return False

    def stream(self, path: str, cookie: str = "") -> SocketStream:
        headers = f" HTTP/1.1\r\nCookie: {cookie}\r\nX-Rest:" if cookie else ""
        return SocketStream(self.port, f"{path}{headers}")

    def status(self, path: str, cookie: str = "") -> int:
        with contextlib.closing(self.stream(path, cookie)) as stream:
            return stream.status
