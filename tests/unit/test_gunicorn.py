"""What is made for gunicorn from the configuration."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from flask_sse_sink import create_app, metrics
from flask_sse_sink.config import loading
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.gunicorn import configure
from flask_sse_sink.server import served_app
from flask_sse_sink.server.configuration import Overrides, ServerConfiguration
from flask_sse_sink.server.logger import Logger
from flask_sse_sink.stream import wsgi_server
from flask_sse_sink.worker import StreamWorker
from support.apps import Listen, MakeApp


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSE_SINK_CONFIG", raising=False)
    # A folder that is named is left alone: none is made for this process.
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_bind_workers_and_threads_come_from_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(
        'server: {host: "::1", port: 8123, workers: 3, max_clients: 200}\n'
        "sink: {a: {type: sse}, b: {type: sse, path: /live}}\n"
    )
    made = configure()
    assert made["bind"] == ["[::1]:8123"]
    assert (made["workers"], made["threads"], made["worker_class"]) == (3, 220, StreamWorker)
    assert made["worker_connections"] > made["threads"]
    made["when_ready"](SimpleNamespace(LISTENERS=[], cfg=SimpleNamespace(is_ssl=False)))
    shown = capsys.readouterr().err
    assert "curl -N http://[::1]:8123/a/" in shown
    assert "http://[::1]:8123/b/live" in shown
    assert "Authorization" in shown


def test_the_environment_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PORT_OF_THE_TESTS", "")
    monkeypatch.delenv("A_PORT_OF_THE_TESTS")
    (folder / ".env").write_text("A_PORT_OF_THE_TESTS=8124\n")
    (folder / "config.yaml").write_text(
        "server: {port: '${A_PORT_OF_THE_TESTS}'}\nsink: {sse: }\ningest: {auth: none}\n"
    )
    assert ServerConfiguration().load()["bind"] == ["127.0.0.1:8124"]


def test_a_log_in_memory_is_for_one_worker(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = "database: {url: 'sqlite:///:memory:'}\nsink: {sse: }\ningest: {auth: none}\n"
    (folder / "config.yaml").write_text(f"{config}server: {{workers: 2}}\n")
    with pytest.raises(SystemExit) as ended:
        ServerConfiguration().load()
    assert ended.value.code == 2
    assert "database.url: sqlite:///:memory: is for a single process" in capsys.readouterr().err
    assert ServerConfiguration(overrides=Overrides(workers=1)).load()["workers"] == 1


def test_a_wrong_file_ends_the_program_with_its_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text("server: {port: x}\nsink: {}\n")
    with pytest.raises(SystemExit):
        ServerConfiguration().load()
    told = capsys.readouterr().err
    assert "server.port" in told
    assert "sink: is missing" in told


def test_gunicorn_takes_the_settings_and_hooks(folder: Path) -> None:
    (folder / "config.yaml").write_text("ingest: {auth: none}\nsink: {sse: }\n")
    config = Config()
    for name, value in ServerConfiguration().load().items():
        # gunicorn passes over what a version doesn't know, such as control_socket_disable.
        if name in config.settings:
            config.set(name, value)
            assert config.settings[name].get() is not None


class Master:
    """What of gunicorn's arbiter is asked for at a reload."""

    def __init__(self) -> None:
        self.cfg = SimpleNamespace(address=[("127.0.0.1", 8000)], preload_app=True)
        self.cfg.reuse_port = False
        self.app = SimpleNamespace(app_uri="wsgi:app")
        self.log = logging.getLogger("test_gunicorn.master")


def test_a_reload_with_a_mistake_leaves_settings_and_environment_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("A_VARIABLE_OF_THE_TESTS", "")
    monkeypatch.delenv("A_VARIABLE_OF_THE_TESTS")
    config, variables = folder / "config.yaml", folder / ".env"
    variables.write_text("A_VARIABLE_OF_THE_TESTS=old\n")
    config.write_text("ingest: {auth: none}\nsink: {sse: }\n")
    configuration = ServerConfiguration()
    old = configuration.load()
    monkeypatch.setattr(wsgi_server, "gunicorn_master", Master)

    variables.write_text("A_VARIABLE_OF_THE_TESTS=new\n")
    config.write_text("ingest: {auth: none}\nsink: {sse: }\nserver: {port: x}\n")
    assert configuration.load() is old
    assert os.environ["A_VARIABLE_OF_THE_TESTS"] == "old"
    assert "the old one stays in force" in caplog.text and "server.port" in caplog.text

    config.write_text("ingest: {auth: none}\nsink: {another: {type: sse}}\nserver: {workers: 3}\n")
    restore = configuration.snapshot()
    assert configuration.load()["workers"] == 3
    assert os.environ["A_VARIABLE_OF_THE_TESTS"] == "new"
    assert "another" in loading.load(config).sink
    restore()
    assert os.environ["A_VARIABLE_OF_THE_TESTS"] == "old"
    assert "sse" in loading.load(config).sink


def test_a_worker_starts_the_relay_and_ends_its_streams(folder: Path) -> None:
    (folder / "config.yaml").write_text("sink: {sse: }\ningest: {auth: none}\n")
    app = create_app()
    runtime = runtime_of(app)
    worker = SimpleNamespace(wsgi=app, alive=True)
    served_app.start_streaming(worker)
    assert runtime.is_running
    with app.test_client() as client:
        response = client.get("/sse/", buffered=False)
        parts = response.iter_encoded()
        assert next(parts) == b"event: info\ndata: connected\nretry: 3000\n\n"
        worker.alive = False
        assert b"data: closing" in b"".join(parts)
        response.close()
    runtime.close()


def test_a_worker_without_the_extension_is_left_alone() -> None:
    served_app.start_streaming(SimpleNamespace(wsgi=lambda environ, start: []))


def test_the_access_log_has_two_lines_for_a_stream_and_one_for_the_rest(
    folder: Path, make_app: MakeApp, listen: Listen
) -> None:
    settings = Config()
    settings.set("accesslog", str(folder / "access.log"))
    settings.set("errorlog", str(folder / "error.log"))
    loggers = [logging.getLogger(name) for name in ("flask_sse_sink", "flask_sse_sink.access")]
    before = [(found.handlers, found.level, found.propagate) for found in loggers]
    made = Logger(settings)
    try:
        listen(make_app(), "event_type=user.*").close()
        made.access(None, None, {"sse_sink.client": 1}, None)
        try:
            raise TimeoutError(errno.ETIMEDOUT, "gone")
        except OSError:
            made.error_log.exception("a peer that fell silent")
        made.error_log.error("worth a line")
    finally:
        for found, values in zip(loggers, before, strict=True):
            found.handlers, found.level, found.propagate = values
        made.close_on_exec()
        for handler in made.error_log.handlers + made.access_log.handlers:
            handler.close()
        made.error_log.handlers, made.access_log.handlers = [], []
    lines = (folder / "access.log").read_text().splitlines()
    assert [line.rpartition(": ")[2].split()[0] for line in lines] == ["connected", "closed"]
    assert all("events_stream?event_type=user.*" in line for line in lines)
    told = (folder / "error.log").read_text()
    assert "worth a line" in told and "fell silent" not in told


def test_too_few_open_files_lower_the_streams(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text("ingest: {auth: none}\nsink: {sse: }\n")
    monkeypatch.setattr("resource.getrlimit", lambda kind: (600, 600))
    assert ServerConfiguration().load()["threads"] == 344 + 34
    assert "344 are admitted" in capsys.readouterr().err
