"""The module for browsers: how it is served, packed and declared, and what node can run of it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_sse_sink import __version__, browser_module, create_app
from flask_sse_sink.web.browser_module import FILE
from support.apps import MakeApp
from support.processes import ROOT
from tools import declarations

SCRIPTS = ROOT / "tests" / "unit" / "browser_module"


@pytest.fixture
def needs_node() -> None:
    if not shutil.which("node"):
        assert os.environ.get("CI") != "true", "node is missing"
        pytest.skip("node is missing, so that the module can't be run without a browser")


@pytest.fixture
def client(make_app: MakeApp, tmp_path: Path) -> FlaskClient:
    (tmp_path / "config.yaml").write_text("sink: {live: {type: sse}}\n")
    return create_app(tmp_path / "config.yaml").test_client()


def test_every_page_may_import_the_module(client: FlaskClient) -> None:
    response = client.get("/sse-sink.js")
    assert response.status_code == 200
    assert response.data == FILE.read_bytes()
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_the_module_of_a_named_version_is_kept_for_ever(client: FlaskClient) -> None:
    kept = client.get(f"/sse-sink.js?v={__version__}").headers["Cache-Control"]
    assert kept == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("query", ["", "?v=", "?v=0.0.0", "?x=1"])
def test_any_other_module_is_asked_for_again(client: FlaskClient, query: str) -> None:
    response = client.get(f"/sse-sink.js{query}")
    assert response.headers["Cache-Control"] == "public, no-cache"
    etag = response.headers["ETag"]
    again = client.get(f"/sse-sink.js{query}", headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == etag
    assert again.headers["Access-Control-Allow-Origin"] == "*"
    changed = client.get(f"/sse-sink.js{query}", headers={"If-None-Match": '"another"'})
    assert changed.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip, deflate, br", True),
        ("*", True),
        ("br;q=1, gzip;q=0.2", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ],
)
def test_the_module_is_compressed_for_those_who_accept_that(
    client: FlaskClient, accepted: str, is_compressed: bool
) -> None:
    plain = client.get("/sse-sink.js")
    response = client.get("/sse-sink.js", headers={"Accept-Encoding": accepted})
    assert response.headers["Vary"] == "Accept-Encoding"
    assert (response.headers.get("Content-Encoding") == "gzip") is is_compressed
    assert (response.headers["ETag"] != plain.headers["ETag"]) is is_compressed
    assert response.headers["Content-Length"] == str(len(response.data))
    text = gzip.decompress(response.data) if is_compressed else response.data
    assert text == FILE.read_bytes()
    headers = {"Accept-Encoding": accepted, "If-None-Match": response.headers["ETag"]}
    assert client.get("/sse-sink.js", headers=headers).status_code == 304


def test_head_answers_the_headers_of_the_module(client: FlaskClient) -> None:
    response = client.head("/sse-sink.js")
    assert response.data == b""
    assert response.headers["Content-Length"] == str(FILE.stat().st_size)
    assert response.headers["ETag"] == client.get("/sse-sink.js").headers["ETag"]


def test_the_module_takes_no_other_method(client: FlaskClient) -> None:
    assert client.post("/sse-sink.js").status_code == 405


def test_an_app_with_the_extension_serves_the_module_if_it_wants_to(make_app: MakeApp) -> None:
    app: Flask = make_app()
    assert app.test_client().get("/sse-sink.js").status_code == 404
    other = make_app()
    other.register_blueprint(browser_module(), url_prefix="/assets")
    assert other.test_client().get("/assets/sse-sink.js").status_code == 200


def test_the_declarations_are_those_that_the_types_make() -> None:
    stored = declarations.FILE.read_text()
    assert stored == declarations.renewed(stored), "run `make docs`"
    assert "entity_id: string | null;" in stored


def test_the_declarations_say_which_kinds_of_types_they_lack() -> None:
    class Newer(msgspec.Struct):
        """Has a field of a kind that no event has."""

        at: bytes

    with pytest.raises(TypeError, match="add one"):
        declarations.interface(Newer)
    with pytest.raises(ValueError, match="has lost the line"):
        declarations.renewed("")


def test_the_package_of_npm_has_this_version() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert package["version"] == __version__
    assert FILE.relative_to(ROOT).as_posix() in package["files"]


def test_the_module_has_at_most_four_kibibytes() -> None:
    assert len(gzip.compress(FILE.read_bytes(), 9)) <= 4096


@pytest.mark.usefixtures("needs_node")
def test_the_module_does_in_node_what_it_must() -> None:
    result = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *map(str, SCRIPTS.glob("*.test.mjs"))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\n# fail 0\n" in result.stdout
