"""`sse-sink serve`, started from outside in folders of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.processes import Process, environment, free_port
from support.producer import Producer
from support.stream import SocketStream
from support.waiting import wait_until

#: Variables that the commands would read instead of what a test's folder holds.
_OURS = ("SSE_SINK_CONFIG", "INGEST_TOKEN", "ACCESS_SECRET", "SSE_SINK_TOKEN", "SSE_SINK_URL")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask_sse_sink", *words]


def variables(**more: str) -> dict[str, str]:
    inherited = environment(Path("none"), **more)
    return {name: value for name, value in inherited.items() if name not in _OURS}


@contextmanager
def serving(folder: Path, port: int, *words: str, **more: str) -> Iterator[Process]:
    """Run `sse-sink serve` in the folder; what it writes on standard output stands in `output`."""
    shell = ["sh", "-c", 'exec "$@" >output', "sh"]
    process = Process([*shell, *command(*words)], folder, variables(**more))
    try:
        wait_until(lambda: process.is_gone or is_ready(port), "it is ready, or ended")
        assert not process.is_gone, process.log
        yield process
    except BaseException:
        print(process.log)
        process.close()
        raise
    process.stop()


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def run(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=variables(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_folder_becomes_a_server(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port, "serve", "--port", str(port), "--workers", "1") as server:
        assert "Made config.yaml" in server.log and "Made .env" in server.log
        assert f"Console on   http://127.0.0.1:{port}/\n" in server.log
        wait_until(lambda: len(server.workers()) == 1, "there is one worker")
        token = re.search(r"^INGEST_TOKEN=(\S+)$", (tmp_path / ".env").read_text(), re.MULTILINE)
        assert token and token[1] not in server.log
        stream = SocketStream(port, "/events_stream/")
        try:
            assert stream.next().data == "connected"
            with Producer(port, token[1]) as producer:
                (id,) = producer.post({"event_type": "user.login"})
            assert stream.message_id() == id
            server.terminate()
            assert stream.next().data == "closing"
        finally:
            stream.close()
        wait_until(lambda: server.is_gone, "it ended")
        assert "Traceback" not in server.log
    assert (tmp_path / "output").read_text() == ""
    assert (tmp_path / "data" / "events.db").exists()


def test_options_win_over_the_file_also_after_a_reload(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "server", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    config = folder / "config.yaml"
    (folder / ".env").write_text("A_WORD=first\n")
    text = "server: {port: 1, workers: 1}\ningest: {auth: none}\nsink: {'${A_WORD}': {type: sse}}"
    text = text.replace("'${A_WORD}'", "a") + "\n"
    config.write_text(text)
    port = free_port()
    words = ("--config", str(config), "serve", "--port", str(port), "--workers", "2")
    with serving(elsewhere, port, *words) as server:
        server.wait_for_workers(2)
        before = set(server.workers())
        config.write_text(text.replace("{a:", "{b:"))
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: before.isdisjoint(server.workers()), "the workers are new")
        server.wait_for_workers(2)
        stream = SocketStream(port, "/b/")
        assert stream.next().data == "connected"
        stream.close()
        config.write_text("server: {port: x}\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "the old one stays in force" in server.log, "it says so")
        assert is_ready(port)
    assert (folder / "data" / "events.db").exists()
    assert not (elsewhere / "data").exists()


def test_a_port_that_is_taken_is_told_once(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.count("is taken by another program") == 1, done.stderr
    assert done.stderr.count(str(port)) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_open_opens_the_console(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    opened = tmp_path / "opened"
    script = f'#!/bin/sh\necho "$1" >{opened}.part\nmv {opened}.part {opened}\n'
    browser.write_text(script)
    browser.chmod(0o755)
    port = free_port()
    words = ("serve", "--port", str(port), "--open")
    with serving(tmp_path, port, *words, BROWSER=f"{browser} %s"):
        wait_until(opened.exists, "the browser was called")
        assert opened.read_text() == f"http://127.0.0.1:{port}/\n"


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"flask-sse-sink \d+\.\d+\.\d+\n", done.stdout)
