"""Pages of other origins read a closed sink, until their token ends and after it was revoked.

The pages run the scripts of docs/access.md.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import issuer
from support.chromium import TELL, Answer, Pages, browse
from support.processes import ROOT, run_command
from support.readers import Read
from support.server import Server

pytestmark = pytest.mark.usefixtures("needs_chromium")

SINK = "inbox"
SECRET = "a-secret-of-the-tests-with-32-bytes-and-more"

# What the pages of the app have besides the script of the documentation.
_TICKET_PAGE = """
const getToken = async () => (await fetch("/token")).text();
const show = (event) => tell("message", event.data, event.lastEventId);
const seen = [];
const logInAgain = (problem) => {
  tell("refused", problem.reason, "");
  const again = new Original(seen.at(-1));
  again.onerror = () => tell("closed", String(again.readyState), "");
};
const Original = EventSource;
window.EventSource = function (url) {
  seen.push(url);
  const stream = new Original(url);
  stream.addEventListener("info", (e) => tell("info", e.data, e.lastEventId));
  return stream;
};
"""
_COOKIE_PAGE = """
const renewCookie = () => fetch("/cookie");
"""
_AFTER_COOKIE_PAGE = """
for (const type of ["info", "message"])
  stream.addEventListener(type, (e) => tell(type, e.data, e.lastEventId));
stream.onerror = () => {
  if (stream.readyState === EventSource.CLOSED) tell("closed", String(stream.readyState), "");
};
"""


def recipe_with(part: str) -> str:
    """Return the script of the documentation that has this in it."""
    text = (ROOT / "docs" / "access.md").read_text()
    scripts: list[str] = re.findall(r"```js\n(.*?)```", text, re.S)
    (recipe,) = (each for each in scripts if part in each)
    return recipe.replace("3000", "100")


class App:
    """Gives its pages tokens: the first one ends soon, and is followed by one that lasts."""

    def __init__(self) -> None:
        self._tokens = iter((3, 600))
        self._token = ""

    def token(self) -> str:
        now = int(time.time())
        for seconds in itertools.islice(self._tokens, 1):
            self._token = issuer.sign(iat=now, exp=now + seconds)
        return self._token

    def cookie(self, body: str = "") -> Answer:
        cookie = f"sse_access_token={self.token()}; HttpOnly; SameSite=Lax; Path=/"
        return Answer(body, {"Set-Cookie": cookie})


@contextmanager
def served(folder: Path, origin: str) -> Iterator[Server]:
    """Run a server with a closed sink, whose streams pages of this origin may read."""
    settings = {
        "access": {
            "secret": SECRET,
            "issuers": [
                {
                    "issuer": issuer.NAME,
                    "audience": issuer.AUDIENCE,
                    "key": issuer.SECRET,
                    "algorithms": ["HS256"],
                    "subscribe": [{"sink": SINK, "entity_id": "{sub}"}],
                }
            ],
        },
        "sink": {
            SINK: {
                "type": "sse",
                "access": "token",
                "replay": True,
                "retry": 0.1,
                "cors_origins": [origin],
                "cors_credentials": True,
            }
        },
    }
    with Server(folder, settings) as server:
        yield server
    assert "Traceback" not in server.log, server.log
    assert "ticket=e" not in server.log


@contextmanager
def publishing(server: Server) -> Iterator[list[int]]:
    """Publish events of ann and of bob until the end of the block; yield the ids of ann's."""
    ids: list[int] = []
    stop = threading.Event()

    def publish() -> None:
        with server.connection() as producer:
            while not stop.wait(0.02):
                events = [{"event_type": "a", "entity_id": name} for name in ("ann", "bob")]
                ids.append(producer.post(events)[0])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield ids
    finally:
        stop.set()
        thread.join()


def check_goes_on(pages: Pages, server: Server) -> None:
    """Check that a page reads all events of ann through the end of its token, and no others."""
    read: list[Read] = []
    words: list[str] = []
    with publishing(server) as ids:
        while words[-2:] != ["expired", "connected"]:
            told = pages.next()
            if told[0] == "message":
                read.append(told)
            elif told[0] == "info":
                words.append(told[1])
            else:
                raise AssertionError(told)
    while int(read[-1][2]) < ids[-1]:
        told = pages.next()
        if told[0] == "message":
            read.append(told)
    got = [int(id) for _, _, id in read]
    assert got == ids[ids.index(got[0]) :]
    assert {json.loads(data)["entity_id"] for _, data, _ in read} == {"ann"}


def revoked_words(pages: Pages, server: Server) -> list[tuple[str, str]]:
    """Revoke ann, and return what the page tells until it is refused for good."""
    run_command(server.config, "revoke", "ann")
    words: list[tuple[str, str]] = []
    while not words or words[-1][0] != "closed":
        words.append(pages.next()[:2])
    return words


def test_a_page_with_tickets_goes_on_when_its_token_ends_and_stops_when_revoked(
    tmp_path: Path,
) -> None:
    app = App()
    with Pages() as pages:
        # The page's host is another one, too: the browser calls this cross-site.
        origin = f"http://localhost:{pages.port}"
        with served(tmp_path, origin) as server:
            recipe = recipe_with("/tickets").replace("https://events.example", server.url(""))
            pages.answers["/"] = lambda: Answer(f"<script>{TELL}{_TICKET_PAGE}{recipe}</script>")
            pages.answers["/token"] = lambda: Answer(app.token())
            with browse(f"{origin}/", tmp_path):
                check_goes_on(pages, server)
                words = revoked_words(pages, server)
            assert ("info", "expired") in words
            assert words[-2:] == [("refused", "revoked"), ("closed", "2")]


def test_a_page_with_a_cookie_goes_on_when_its_token_ends_and_stops_when_revoked(
    tmp_path: Path,
) -> None:
    app = App()
    with Pages() as pages:
        origin = f"http://127.0.0.1:{pages.port}"
        with served(tmp_path, origin) as server:
            recipe = recipe_with("withCredentials").replace(
                "https://events.example", server.url("")
            )
            page = f"<script>{TELL}{_COOKIE_PAGE}{recipe}{_AFTER_COOKIE_PAGE}</script>"
            pages.answers["/"] = lambda: app.cookie(page)
            pages.answers["/cookie"] = app.cookie
            with browse(f"{origin}/", tmp_path):
                check_goes_on(pages, server)
                words = revoked_words(pages, server)
            assert ("info", "expired") in words
            assert words[-1] == ("closed", "2")
