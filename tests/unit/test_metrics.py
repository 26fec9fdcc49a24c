"""The metrics of one process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from flask_sse_sink import ConfigError, metrics
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.metrics import multiprocess
from support.apps import Listen, MakeApp
from support.processes import environment, gunicorn_command


def test_a_start_goes_on_without_a_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(metrics.FOLDER_VARIABLE, "")

    def refuse(base: Path) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(multiprocess, "remove_orphans", refuse)
    metrics.prepare()
    assert "one worker only: read-only" in caplog.text


def test_a_process_counts_what_its_streams_do(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"counted": {"type": "sse", "max_clients": 1}})
    stream = listen(app, path="/counted/")
    refused = app.test_client().get("/counted/")
    assert (refused.status_code, runtime_of(app).admission.taken) == (503, 1)
    stream.close()
    lines = metrics.expose("")[0].decode().splitlines()
    assert 'sse_sink_clients{sink="counted"} 0.0' in lines
    assert 'sse_sink_clients_refused_total{sink="counted"} 1.0' in lines
    ended = 'sse_sink_clients_ended_total{reason="closed",sink="counted"} 1.0'
    assert ended in lines


def test_a_folder_is_made_for_a_server_and_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metrics.FOLDER_VARIABLE, raising=False)
    metrics.prepare()
    folder = Path(os.environ[metrics.FOLDER_VARIABLE])
    metrics.prepare()
    assert folder.stat().st_mode & 0o777 == 0o700
    metrics.discard()
    metrics.discard()
    assert not folder.exists()
    assert metrics.FOLDER_VARIABLE not in os.environ


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text;version=x",
        "text/plain;version=x",
        ";;=,",
        "\xff",
        "",
        "application/openmetrics-text;version=",
        "text/plain;version=\xb2;escaping=q",
    ],
)
def test_any_accept_header_gets_the_metrics(accept: str) -> None:
    body, content_type = metrics.expose(accept)
    assert b"sse_sink_events_stored" in body
    assert content_type.startswith(("text/plain;", "application/openmetrics-text;"))


@pytest.mark.parametrize("kind", ["an extension", "a server"])
def test_a_folder_that_can_not_be_used_is_refused_at_start(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "metrics"
    if kind == "an extension":
        monkeypatch.setenv(metrics.FOLDER_VARIABLE, str(folder))
        with pytest.raises(ConfigError, match="name a folder that this user may write to"):
            make_app()
        return
    config = tmp_path / "config.yaml"
    config.write_text("server: {port: 0}\ningest: {auth: none}\nsink: {sse: }\n")
    done = subprocess.run(
        gunicorn_command(tmp_path),
        cwd=tmp_path,
        env=environment(config, **{metrics.FOLDER_VARIABLE: str(folder)}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"{metrics.FOLDER_VARIABLE}: metrics can't be counted in {folder}" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
