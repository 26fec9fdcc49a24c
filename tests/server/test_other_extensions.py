"""The commonest extensions of Flask in one app with streams, over real gunicorn.

Of each: more streams than whatever the extension has few of, the app's own requests beside them,
and nothing that is left when they have gone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

from support.redis_server import RedisServer
from support.theirs import Theirs
from support.waiting import WAIT_SECONDS, wait_until

STREAMS = 12


class Answer:
    """The answer to one request, whose body is read."""

    def __init__(self, server: Theirs, method: str, path: str, **headers: str) -> None:
        made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
        body = b'{"event_type": "a"}' if method == "POST" else None
        with contextlib.closing(made):
            made.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = made.getresponse()
            self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


@contextlib.contextmanager
def streaming(server: Theirs, query: str = "") -> Iterator[None]:
    """Hold streams open meanwhile, which get what is published before and after."""
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(server.stream(query)) for _ in range(STREAMS)]
        for turn in range(2):
            ids = [server.post({"event_type": "a"})[0] for _ in range(3)]
            for stream in streams:
                assert stream.ids_until(ids[-1]) == ids
            if not turn:
                yield
    server.wait_for_nothing()


def test_flask_login(tmp_path: Path, both_ways: str) -> None:
    source = """
from flask_login import LoginManager, UserMixin, current_user, login_required

app.secret_key = "of a test"
login = LoginManager(app)


class User(UserMixin):
    id = "1"


@login.request_loader
def load(request):
    return User() if request.args.get("user") == "1" else None


@app.before_request
def readers_are_users():
    if request.blueprint == "events_stream" and not current_user.is_authenticated:
        return login.unauthorized()


@app.get("/me")
@login_required
def me():
    return current_user.id
"""
    with Theirs(tmp_path, source) as server:
        for _ in range(30):
            assert Answer(server, "GET", "/events_stream/").status == 401
        with streaming(server, "?user=1"):
            assert Answer(server, "GET", "/me").status == 401
            assert Answer(server, "GET", "/me?user=1").body == b"1"
    assert "Traceback" not in server.log, server.log


def test_flask_session(tmp_path: Path, redis_server: RedisServer, both_ways: str) -> None:
    source = f"""
import redis
from flask import session
from flask_session import Session

app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_REDIS"] = redis.Redis(port={redis_server.port})
Session(app)


@app.before_request
def visit():
    if request.path != "/state":
        session["visits"] = session.get("visits", 0) + 1


@app.get("/visits")
def visits():
    return str(session["visits"])
"""
    with Theirs(tmp_path, source) as server:
        with streaming(server):
            first = Answer(server, "GET", "/visits")
            cookie = first.headers["Set-Cookie"].partition(";")[0]
            found = [Answer(server, "GET", "/visits", Cookie=cookie).body for _ in range(3)]
            assert [first.body, *found] == [b"1", b"2", b"3", b"4"]
            stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            stream.request("GET", "/events_stream/", headers={"Cookie": cookie})
            assert stream.getresponse().status == 200
            assert Answer(server, "GET", "/visits", Cookie=cookie).body == b"6"
            stream.close()
    assert "Traceback" not in server.log, server.log


def test_flask_sqlalchemy_with_a_pool_of_two(tmp_path: Path, both_ways: str) -> None:
    source = f"""
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from flask_sse_sink import client_connected, client_disconnected

app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{tmp_path}/app.db"
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {{
    "pool_size": 2, "max_overflow": 0, "pool_timeout": 5
}}
db = SQLAlchemy(app)


class Visit(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    kind = db.Column(db.Text)


with app.app_context():
    db.create_all()


@app.before_request
def look():
    # As something that loads the user does.
    if request.path != "/state":
        db.session.execute(text("SELECT 1"))


@app.get("/visits/<kind>")
def visits(kind):
    count = db.session.query(Visit).filter_by(kind=kind).count()
    return jsonify(count=count, others=db.engine.pool.checkedout() - 1)


def note(sender, kind):
    with sender.app_context():
        db.session.add(Visit(kind=kind))
        db.session.commit()


@client_connected.connect_via(app)
def came(sender, **values):
    note(sender, "came")


@client_disconnected.connect_via(app)
def went(sender, **values):
    note(sender, "went")
"""
    with Theirs(tmp_path, source) as server:

        def visits(kind: str) -> dict[str, int]:
            found: dict[str, int] = json.loads(Answer(server, "GET", f"/visits/{kind}").body)
            return found

        with streaming(server):
            assert visits("came") == {"count": STREAMS, "others": 0}
        wait_until(lambda: visits("went")["count"] == STREAMS, "all have gone")
    assert "Traceback" not in server.log, server.log


def test_flask_compress(tmp_path: Path, both_ways: str) -> None:
    source = """
from flask_compress import Compress

Compress(app)


@app.get("/page")
def page():
    return "a" * 5000
"""
    with Theirs(tmp_path, source) as server:
        with streaming(server):
            page = Answer(server, "GET", "/page", **{"Accept-Encoding": "gzip"})
            assert page.headers["Content-Encoding"] == "gzip" and len(page.body) < 500
            made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            made.request("GET", "/events_stream/", headers={"Accept-Encoding": "gzip, br"})
            answer = made.getresponse()
            assert "Content-Encoding" not in answer.headers
            assert answer.readline() == b"event: info\n"
            answer.close()
            made.close()
        assert "changed on their way" not in server.log


def test_flask_wtf(tmp_path: Path, both_ways: str) -> None:
    source = """
from flask_wtf.csrf import CSRFProtect

app.secret_key = "of a test"
csrf = CSRFProtect(app)


@app.post("/form")
def form():
    return "taken"


@app.post("/exempt")
@csrf.exempt
def exempt():
    csrf.exempt(app.blueprints["sse_sink_ingest"])
    return "done"
"""
    with Theirs(tmp_path, source) as server:
        # Producers have no form's token, so the ingest endpoint must be exempt.
        assert Answer(server, "POST", "/ingest").status == 400
        assert Answer(server, "POST", "/exempt").status == 200
        assert Answer(server, "POST", "/ingest").status == 201
        with streaming(server):
            assert Answer(server, "POST", "/form").status == 400
    assert "Traceback" not in server.log, server.log
