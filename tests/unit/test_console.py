"""The console as the server serves it: who gets it, with which headers, and what it tells."""

from __future__ import annotations

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_sse_sink import ConfigError, create_app
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.server.banner import banner
from support.apps import MakeApp

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
CONFIG = """
access: {secret: a-secret-of-the-tests-with-32-bytes-and-more}
database: {url: "sqlite:///events.db"}
sink:
  live: {type: sse, match: ["user.*", end], path: /now, replay: true, cors_origins: ["*"]}
  inbox: {type: sse, access: token, match: secret.plan, replay: true, max_clients: 7654321}
  warehouse: {type: http_pull, access: none}
  vault: {type: http_pull, match: secret.keys}
"""
FILES = Path(__file__).parents[2] / "flask_sse_sink" / "static" / "console"


def make_client(folder: Path, text: str = CONFIG, more: str = "") -> FlaskClient:
    (folder / "config.yaml").write_text(text + more)
    return create_app(folder / "config.yaml").test_client()


@pytest.fixture
def client(make_app: MakeApp, tmp_path: Path) -> FlaskClient:
    return make_client(tmp_path)


def get(client: FlaskClient, path: str, accept: str = CHROME, **headers: str) -> TestResponse:
    """Return the answer's head; of a stream there is no end to wait for."""
    response = client.get(path, headers={"Accept": accept, **headers}, buffered=False)
    if response.mimetype == "text/event-stream":
        response.close()
    return response


class Head(HTMLParser):
    """What a page loads, and what stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.data: dict[str, Any] = {}
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "link"):
            self.urls.append(values.get("src") or values.get("href") or "")
        self.inline += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style":
            self.inline.append(tag)
        if "data-page" in values:
            self.data = json.loads(values["data-page"] or "")


def file_urls(client: FlaskClient) -> list[str]:
    return [f"/{url.removeprefix('./')}" for url in Head(get(client, "/").text).urls]


# Who gets the page.


@pytest.mark.parametrize(
    "accept", [CHROME, FIREFOX, "text/html"], ids=["Chrome", "Firefox", "bare"]
)
@pytest.mark.parametrize("path", ["/", "/live/now", "/inbox/", "/inbox"])
def test_a_browser_that_opens_a_url_gets_the_page(
    client: FlaskClient, path: str, accept: str
) -> None:
    response = get(client, path, accept)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert "Accept" in response.vary
    assert Head(response.text).data["selected"] == path.split("/")[1]


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "*/*", "", JAVA, "text/event-stream, text/html", "text/*"]
)
def test_whatever_else_opens_a_streams_url_gets_the_stream(
    client: FlaskClient, accept: str
) -> None:
    response = get(client, "/live/now", accept)
    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    assert "Accept" in response.vary
    assert "Content-Security-Policy" not in response.headers
    assert get(client, "/inbox/", accept).status_code == 401


@pytest.mark.parametrize("name", ["ticket", "token", "access_token"])
def test_a_url_with_a_credential_is_answered_as_ever(client: FlaskClient, name: str) -> None:
    response = get(client, f"/inbox/?{name}=not-one")
    assert (response.status_code, response.mimetype) == (401, "application/problem+json")


def test_programs_get_the_front_page_as_json(client: FlaskClient) -> None:
    for accept in ("", "*/*", "application/json"):
        assert get(client, "/", accept).mimetype == "application/json"


def test_head_answers_headers_only(client: FlaskClient) -> None:
    response = client.head("/live/now", headers={"Accept": CHROME})
    assert (response.status_code, response.mimetype, response.data) == (200, "text/html", b"")


def test_without_the_console_browsers_get_what_programs_get(
    make_app: MakeApp, tmp_path: Path
) -> None:
    client = make_client(tmp_path, more="server: {console: false}\n")
    assert get(client, "/").mimetype == "application/json"
    stream = get(client, "/live/now")
    assert stream.mimetype == "text/event-stream"
    assert "Accept" not in stream.vary
    for path in ("/console/sinks.json", "/console/1/main.js"):
        assert get(client, path).status_code == 404


def test_somebody_elses_app_gets_no_page(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert get(client, "/").status_code == 404
    assert get(client, "/console/sinks.json").status_code == 404
    assert get(client, "/events_stream/").mimetype == "text/event-stream"


def test_a_sink_may_be_called_console_but_not_stand_in_its_way(
    make_app: MakeApp, tmp_path: Path
) -> None:
    text = "database: {url: 'sqlite:///a.db'}\nsink: {console: {type: sse%s}}\n"
    client = make_client(tmp_path, text % "")
    assert get(client, "/console/", "*/*").mimetype == "text/event-stream"
    assert get(client, "/console/").mimetype == "text/html"
    assert get(client, file_urls(client)[-1]).status_code == 200
    for path in ("/sinks.json", "/a/main.js"):
        with pytest.raises(ConfigError, match="meets the app's route sse_sink_console"):
            make_client(tmp_path, text % f", path: {path}")


# What it tells.


def test_strangers_get_the_name_and_paths_of_a_closed_sink_alone(client: FlaskClient) -> None:
    response = get(client, "/")
    assert "secret.plan" not in response.text
    assert "secret.keys" not in response.text
    assert "7654321" not in response.text
    sinks = {sink["name"]: sink for sink in Head(response.text).data["sinks"]}
    for name in ("inbox", "vault"):
        assert sinks[name].keys() == {"name", "stream", "closed", "url", "routes"}
        assert all(route.keys() == {"method", "url"} for route in sinks[name]["routes"])
    assert (sinks["live"]["match"], sinks["live"]["replay"]) == (["end", "user.*"], True)


def test_numbers_are_told_of_open_sinks_alone(client: FlaskClient) -> None:
    assert get(client, "/live/now", "*/*").status_code == 200
    response = client.get("/console/sinks.json")
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.get_json()
    assert answer["sinks"].keys() == {"live", "warehouse"}
    assert answer["now"] > 1_700_000_000


def test_numbers_that_can_not_be_read_are_a_problem(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    response = client.get("/console/sinks.json")
    assert response.status_code == 503
    assert str(tmp_path) not in response.text


# How it is served.


def test_the_page_may_load_only_what_this_server_has(client: FlaskClient) -> None:
    for path in ("/", "/live/now", "/inbox/", file_urls(client)[-1], "/console/sinks.json"):
        headers = get(client, path).headers
        policy = dict(
            part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; ")
        )
        assert policy.pop("default-src") == "'none'"
        for what in ("script-src", "style-src", "connect-src", "img-src"):
            assert policy.pop(what) == "'self'"
        for what in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
            assert policy.pop(what) == "'none'"
        assert policy == {"require-trusted-types-for": "'script'"}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_nothing_stands_in_the_page_that_its_policy_forbids(client: FlaskClient) -> None:
    head = Head(get(client, "/live/now").text)
    assert head.inline == []
    assert head.data["root"] == "../"
    assert head.urls
    assert all(url.startswith("../console/") for url in head.urls)


def test_no_file_of_the_page_makes_markup_or_code_from_text() -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function"
    )
    for path in FILES.glob("*.js"):
        assert re.findall(forbidden, path.read_text()) == [], path.name


def test_files_are_kept_for_long_and_checked_by_their_etag(client: FlaskClient) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    urls = file_urls(client)
    folder = urls[0].rpartition("/")[0]
    assert len(list(FILES.iterdir())) > 10
    for path in FILES.iterdir():
        response = client.get(f"{folder}/{path.name}")
        assert response.data == path.read_bytes()
        assert response.mimetype == types[path.suffix]
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        again = client.get(
            f"{folder}/{path.name}", headers={"If-None-Match": response.headers["ETag"]}
        )
        assert (again.status_code, again.data) == (304, b"")
        packed = client.get(f"{folder}/{path.name}", headers={"Accept-Encoding": "gzip, br"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == path.read_bytes()
        assert packed.headers["ETag"] != response.headers["ETag"]
        assert packed.headers["Vary"] == response.headers["Vary"] == "Accept-Encoding"
    # A server of another version has other text.
    assert "immutable" not in client.get("/console/old/main.js").headers["Cache-Control"]
    assert get(client, "/").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fconsole.html", "..%5c..%5cwsgi.py", ".", "main", "main.js%00.css"]
)
def test_no_other_file_is_served(client: FlaskClient, name: str) -> None:
    assert client.get(f"/console/1/{name}").status_code == 404


def test_the_version_of_the_files_is_that_of_their_text(
    client: FlaskClient, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    assert file_urls(make_client(tmp_path / "other")) == file_urls(client)


def test_the_console_is_on_by_default_and_the_server_says_where() -> None:
    sink = {"sink": {"sse": None}}
    assert "Console on   http://x/\n" in banner(from_mapping(sink, "x", Path("/")), "http://x")
    off = from_mapping({**sink, "server": {"console": False}}, "x", Path("/"))
    assert "Console" not in banner(off, "http://x")
