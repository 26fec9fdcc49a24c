"""Apps that match hosts and subdomains."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask, Response
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_sse_sink import SSESink


def config(folder: Path) -> dict[str, object]:
    return {
        "database": {"url": f"sqlite:///{folder}/events.db"},
        "sink": {"news": {"type": "sse"}},
    }


def test_an_app_that_matches_hosts_is_told_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("a", host_matching=True, static_host="a.example")
    SSESink(app, config(tmp_path))
    assert Client(app, Response).get("/news/", base_url="http://a.example").status_code == 404
    assert "DispatcherMiddleware" in caplog.text
    # The cure that it names.
    streams = Flask("streams")
    sse = SSESink(streams, config(tmp_path))
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign] # Flask's own way
        app.wsgi_app, {"/streams": streams.wsgi_app}
    )
    found = Client(app, Response).head("/streams/news/", base_url="http://a.example")
    assert found.status_code == 200
    sse.close()


def test_subdomain_matching_answers_under_the_servers_name(tmp_path: Path) -> None:
    app = Flask("a", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    sse = SSESink(app, config(tmp_path))
    client = app.test_client()
    assert client.head("/news/", base_url="http://example.com").status_code == 200
    assert client.head("/news/", base_url="http://sub.example.com").status_code == 404
    sse.close()
