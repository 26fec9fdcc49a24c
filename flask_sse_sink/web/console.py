"""The live console: its page, the files of the page, and the numbers that it shows of sinks."""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from flask import (
    Blueprint,
    Request,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
)

from .. import metrics
from ..access.credentials import TICKET, URL_TOKENS
from ..description.blueprint import DescribedBlueprint
from .console_description import PATH, TYPES, describe
from .problem import problem
from .static_text import StaticText

_log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parents[1] / "static" / "console"
_FOR_EVER = "public, max-age=31536000, immutable"

# What the page may load, and from where: nothing from another host, and no script or style that
# stands in the page itself. So text of an event can't become part of the page's code.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

# Reading the counts of all processes takes milliseconds, and anybody may ask for them.
_FRESH_SECONDS = 1.0
# The metrics that are shown, and the names that they have here.
_SHOWN = {
    "clients": "clients",
    "deliveries_total": "deliveries",
    "missed_total": "missed",
    "pull_lag": "unconfirmed",
    "pull_out": "leased",
    "pull_dead": "dead",
}


def blueprint(
    is_on: Callable[[], bool],
    open_sinks: Callable[[], Collection[str]],
    refresh: Callable[[], None],
) -> Blueprint:
    """Return the blueprint with the files of the page, and the numbers of sinks.

    ``is_on`` returns whether there is a console; ``open_sinks`` the sinks of which anybody may
    know. ``refresh`` sets what the metrics tell of now.
    """
    console = DescribedBlueprint(
        "sse_sink_console", __name__, describe, template_folder="../templates"
    )
    counts = _Counts(refresh)

    @console.before_request
    def refuse_if_off() -> None:
        if not is_on():
            abort(404)

    @console.get(f"{PATH}/<version>/<name>")
    def file(version: str, name: str) -> Response:
        files = _files()
        text = files.texts.get(name)
        if text is None:
            abort(404)
        # The text of another version is not what its URL stands for.
        caching = _FOR_EVER if version == files.version else "no-cache"
        kind = TYPES[Path(name).suffix]
        return text.response({"Content-Type": kind, "Cache-Control": caching})

    @console.get(f"{PATH}/sinks.json")
    def sinks() -> Response:
        try:
            numbers = counts.now()
        except Exception as error:
            # The folder of the counts is gone, or its files are damaged.
            _log.error("metrics can't be read: %s: %s", type(error).__name__, error)
            detail = "they can't be read; the server's log says why"
            return problem(503, "Numbers are away", detail)
        shown = {name: numbers.get(name, {}) for name in open_sinks()}
        response = jsonify(now=time.time(), sinks=shown)
        response.headers["Cache-Control"] = "no-store"
        return response

    @console.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    return console


def wants_page(request: Request) -> bool:
    """Return whether a request for a stream comes from a browser that opens its URL.

    Such a request names ``text/html``, and likes it better than a stream. EventSource, ``fetch``
    and curl don't name it. With a ticket or a token in the URL, the answer is the stream's.
    """
    accept = request.environ.get("HTTP_ACCEPT", "")
    # Most requests for streams go no further than this.
    if "text/html" not in accept:
        return False
    accepted = request.accept_mimetypes
    # Java's HttpURLConnection names text/html, and pictures, unless it is told what to name.
    if accepted["text/html"] <= accepted["text/event-stream"] or "image/gif" in accept:
        return False
    return not any(request.args.get(name) for name in (TICKET, *URL_TOKENS))


def page(data: Mapping[str, object], selected: str = "") -> Response:
    """Return the page, with the sink of this name selected.

    The page names its files by relative URLs, so it works below any prefix that a proxy has.
    """
    root = "../" * (request.path.count("/") - 1) or "./"
    shown = {
        **data,
        "root": root,
        "files": f"{root}{PATH.removeprefix('/')}/{_files().version}/",
        "selected": selected,
        "now": time.time(),
    }
    response = make_response(render_template("sse_sink/console.html", page=shown))
    response.headers.update(_HEADERS)
    # The sinks may change, and the files with a new version.
    response.headers["Cache-Control"] = "no-cache"
    return response


class _Files(NamedTuple):
    """The texts of the page's files, by their names, and a version that is another for others.

    The version is part of the files' URLs, so browsers may keep them.
    """

    texts: dict[str, StaticText]
    version: str


def _files() -> _Files:
    """Return the files: in debug mode as they are now, else as they were the first time."""
    return _read_files() if current_app.debug else _kept_files()


def _read_files() -> _Files:
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in TYPES)
    texts = {path.name: StaticText(path.read_bytes()) for path in paths}
    digest = hashlib.sha256()
    for name, each in texts.items():
        digest.update(b"%b %d\n%b" % (name.encode(), len(each.text), each.text))
    return _Files(texts, digest.hexdigest()[:12])


_kept_files = functools.cache(_read_files)


class _Counts:
    """Reads the numbers of all sinks, once a second at most. Any thread may ask."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._numbers: dict[str, dict[str, float]] = {}

    def now(self) -> dict[str, dict[str, float]]:
        """Return the numbers of each sink, by their names.

        While another thread reads them, the numbers are those that were read before.

        :raises Exception: the folder of the counts is gone, or its files are damaged.
        """
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._read_at > _FRESH_SECONDS:
                    self._refresh()
                    self._numbers = metrics.of_sinks(_SHOWN)
                    self._read_at = time.monotonic()
            finally:
                self._lock.release()
        return self._numbers
