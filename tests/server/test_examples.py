"""The programs in ``examples``, as somebody runs them."""

from __future__ import annotations

import contextlib
import json
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


def text_of(stream: SocketStream) -> str:
    return str(stream.event()["data"]["text"])


def test_users_of_flask_login_get_their_notifications(tmp_path: Path) -> None:
    with Example(tmp_path, "login_app") as example:
        ann, bob = Browser(example.port), Browser(example.port)
        assert "EventSource" in ann.send("/")[1]
        assert example.status("/inbox/") == 401
        for user, name in ((ann, "ann"), (bob, "bob")):
            assert user.form("/login", user=name) == 200
        with contextlib.closing(example.stream("/inbox/", ann.cookie)) as stream:
            assert stream.status == 200
            assert stream.next().data == "connected"
            assert ann.form("/notify/bob", text="not for ann") == 204
            assert bob.form("/notify/ann", text="hello") == 204
            assert text_of(stream) == "bob says hello"
            assert ann.form("/logout") == 200
            assert stream.next().data == "expired"
        assert example.status("/inbox/", bob.cookie) == 200
        assert ann.form("/login", user="ann") == 200
        with contextlib.closing(example.stream("/inbox/", ann.cookie)) as stream:
            assert stream.next().data == "connected"
    assert "Traceback" not in example.log, example.log


def test_users_of_a_session_get_their_notifications(tmp_path: Path) -> None:
    with Example(tmp_path, "session_app") as example:
        ann = Browser(example.port)
        assert ann.send("/stream")[0] == 401
        assert ann.form("/login", user="ann") == 200
        url = json.loads(ann.send("/stream")[1])["url"]
        with contextlib.closing(example.stream(url)) as stream:
            assert stream.next().data == "connected"
            assert ann.form("/notify/bob", text="not for ann") == 204
            assert ann.form("/notify/ann", text="hello") == 204
            assert text_of(stream) == "hello"
            assert ann.form("/logout") == 200
            assert stream.next().data == "expired"
        wait_until(lambda: example.status(url) == 401, "the ticket is refused", 3)
    assert url.partition("ticket=")[2] not in example.log
    assert "Traceback" not in example.log, example.log
