"""A folder as in a fresh clone, in which the commands of one page are run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from support.processes import (
    ROOT,
    environment,
    free_port,
    group_members,
    gunicorn_command,
    kill_all,
)
from support.snippets import Block, Command, commands, shows
from support.waiting import WAIT_SECONDS, wait_until

#: The address that all pages name; the tests take another port.
ADDRESS = "127.0.0.1:8000"
_CLONE = (
    "wsgi.py",
    "gunicorn.conf.py",
    "Makefile",
    "requirements.txt",
    "setup.cfg",
    "pyproject.toml",
)
#: Those that make a folder with its own tokens.
_MAKE_TOKENS = ("make serve", "sse-sink serve")
_SERVERS = ("make serve", "gunicorn", "flask run", "sse-sink serve")
_NEED_SERVER = (ADDRESS, "flask sse tail", "flask sse pull ")
#: A busy machine takes this long for a command.
_PATIENCE = 3 * WAIT_SECONDS
SECRETS = {
    "INGEST_TOKEN": "an-ingest-token-of-the-tests",
    "ACCESS_SECRET": "a-secret-of-the-tests-with-32-bytes-and-more",
}


class Running:
    """A command that stays open until the page ends."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], output: Path) -> None:
        self.command = command
        self._process = process
        self._output = output

    @property
    def printed(self) -> str:
        return self._output.read_text()

    @property
    def is_gone(self) -> bool:
        """Return whether it has ended by itself, which it should not."""
        return self._process.poll() is not None

    def wait_for_a_word(self) -> None:
        """Return once it has printed something: a stream has begun then."""
        wait_until(lambda: self.printed, f"{self.command.text} prints something", _PATIENCE)

    def check(self) -> None:
        """Wait until it has printed what the page says; without that, it must still be open."""
        assert self.command.printed or not self.is_gone, f"{self.command}\nended: {self.printed}"
        try:
            wait_until(
                lambda: shows(self.command.printed, self.printed, whole=False),
                "it has printed this",
                _PATIENCE,
            )
        except AssertionError:
            raise AssertionError(f"{self.command}\nprinted\n{self.printed}") from None

    def stop(self) -> None:
        """End it and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(WAIT_SECONDS)
            # A server that bash started removes its files when it ends by itself.
            wait_until(lambda: not group_members(self._process.pid), f"{self.command.text} ends")
        finally:
            kill_all(group_members(self._process.pid))
            self._process.wait(WAIT_SECONDS)


class Terminal:
    """Runs the blocks of one page, in their order. Used as a context."""

    def __init__(self, folder: Path, blocks: list[Block]) -> None:
        self._folder = folder
        self._blocks = [block for block in blocks if not block.not_run]
        self._port = free_port()
        self._session: list[str] = []
        self._running: list[Running] = []
        (folder / ".venv").symlink_to(sys.prefix)
        files = {block.file: block.text for block in self._blocks if block.file}
        self._file_needs_server = any(ADDRESS in text for text in files.values())
        if not files.keys() & {"app.py", "myapp.py"}:
            self._clone()
        # A terminal would show no progress of so short answers; a pipe does.
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        words = " ".join(block.text for block in self._blocks if block.in_background)
        if not any(command in words for command in _MAKE_TOKENS):
            lines = [f"{name}={value}\n" for name, value in SECRETS.items()]
            (folder / ".env").write_text("".join(lines))
        self._has_server = any(server in words for server in _SERVERS)

    def _clone(self) -> None:
        for name in _CLONE:
            shutil.copy(ROOT / name, self._folder)
            # Older than the environment, so that `make` installs nothing.
            os.utime(self._folder / name, (0, 0))
        self._configure({})

    def _configure(self, changes: dict[str, object]) -> None:
        """Write the shipped configuration with these sections in place of its own."""
        settings = yaml.safe_load((ROOT / "config.yaml").read_text())
        settings |= changes
        server = {"workers": 1, **(settings.get("server") or {}), "port": self._port}
        text = yaml.safe_dump({**settings, "server": server}, sort_keys=False)
        (self._folder / "config.yaml").write_text(text)

    def run(self) -> None:
        """Run every block, and check what stayed open."""
        for block in self._blocks:
            if block.file == "config.yaml":
                self._configure(yaml.safe_load(block.text))
            elif block.file:
                path = self._folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._here(block.text))
            elif block.language in ("console", "sh"):
                self._run(block)
        for running in self._running:
            running.check()

    def _run(self, block: Block) -> None:
        for command in commands(block):
            if not self._has_server and self._needs_server(command):
                self._has_server = True
                self._start(Command(" ".join(gunicorn_command(self._folder)), ""))
                self._wait_for_server()
            if re.search(r"^(export|cd) |&& cd ", command.text):
                self._session.append(command.text)
            elif block.in_background:
                self._start(command)
                if any(server in command.text for server in _SERVERS):
                    self._wait_for_server()
                elif "curl -N" in command.text:
                    self._running[-1].wait_for_a_word()
            else:
                self._finish(command)

    def _needs_server(self, command: Command) -> bool:
        runs_file = self._file_needs_server and command.text.startswith(("python ", "sh "))
        return runs_file or any(word in command.text for word in _NEED_SERVER)

    def _finish(self, command: Command) -> None:
        """Run a command to its end, and check what it prints and how it ends."""
        result = subprocess.run(
            ["bash", "-c", self._script(command)],
            cwd=self._folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        printed = self._there(result.stdout)
        assert not command.printed or shows(command.printed, printed), f"{command}\n{printed}"
        # A command that fails on purpose shows why.
        assert command.printed or result.returncode == 0, f"{command}\n{printed}"

    def _start(self, command: Command) -> None:
        output = self._folder / f"output{len(self._running)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", self._script(command)],
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        expected = Command(command.text, self._here(command.printed))
        self._running.append(Running(expected, process, output))

    def _wait_for_server(self) -> None:
        server = self._running[-1]

        def answers() -> bool:
            assert not server.is_gone, server.printed
            with contextlib.suppress(OSError):
                return b"HTTP/1.1" in self._ask()
            return False

        wait_until(answers, f"{server.command.text} serves", _PATIENCE)

    def _ask(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), WAIT_SECONDS) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(100)

    def _script(self, command: Command) -> str:
        return "\n".join([*self._session, self._here(command.text)])

    def _here(self, text: str) -> str:
        here = text.replace(ADDRESS, f"127.0.0.1:{self._port}")
        return here.replace("--port 8000", f"--port {self._port}")

    def _there(self, text: str) -> str:
        return text.replace(f"127.0.0.1:{self._port}", ADDRESS)

    def _environment(self) -> dict[str, str]:
        binaries = self._folder / ".venv" / "bin"
        more = {
            "HOME": str(self._folder),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self._port} --no-control-socket",
            "FLASK_RUN_PORT": str(self._port),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        inherited = environment(self._folder / "config.yaml", **more)
        # What a `make` that runs the tests sets, too.
        ours = ("CI", "SSE_SINK_", "PYTHONPATH", "PYTEST_", "COV", "MAKE", "MFLAGS")
        kept_back = (*ours, *SECRETS)
        return {k: v for k, v in inherited.items() if not k.startswith(kept_back)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for running in reversed(self._running):
            running.stop()
