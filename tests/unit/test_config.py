"""Configuration: what it may hold, and how mistakes are reported."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse_sink import LogUnusable, create_app
from flask_sse_sink.config.loading import FILE_VARIABLE, default_file, from_mapping, load
from flask_sse_sink.config.schema import schema
from flask_sse_sink.config.settings import Settings
from flask_sse_sink.config.sink_types import SINK_TYPES
from flask_sse_sink.config.values import Interval, Size
from flask_sse_sink.exceptions import ConfigError
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.log import open_log
from flask_sse_sink.log.redis.log import RedisLog
from flask_sse_sink.stream.settings import SSESettings
from support.examples import at_most
from support.peak_memory import grows_less_than

HERE = Path("/srv/app")


def _read(sink: dict[str, Any] | None = None, **content: Any) -> Settings:
    return from_mapping({"sink": {"sse": sink}, **content}, "c.yaml", HERE)


def _sse(settings: Settings, name: str = "sse") -> SSESettings:
    """Return the settings of a sink of the type `sse`."""
    sink = settings.sink[name]
    assert isinstance(sink, SSESettings)
    return sink


def _problems(content: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping(content, "c.yaml", HERE)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def _load(folder: Path, text: str) -> Settings:
    file = folder / "c.yaml"
    file.write_text(text)
    return load(file)


def test_a_sink_is_all_that_must_be_written(tmp_path: Path) -> None:
    settings = _load(tmp_path, "sink:\n  sse:\n")
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8000)
    assert (settings.server.workers, settings.server.max_clients) == (2, 1000)
    assert settings.database.url == f"sqlite:///{tmp_path}/data/events.db"
    assert settings.database.retention == Interval(30 * 86400)
    assert (settings.ingest.path, settings.ingest.tokens) == ("/ingest", [])
    assert (settings.ingest.auth, settings.ingest.max_body) == ("token", 2**20)
    assert settings.ingest.max_batch == 10_000
    sink = _sse(settings)
    assert (sink.type, sink.path, sink.match.filter.types.values()) == ("sse", "/", ["*"])
    waits = [float(sink.heartbeat_timeout), float(sink.write_timeout), float(sink.retry)]
    assert waits == [30, 30, 3]
    assert (sink.queue_size, sink.queue_bytes) == (1000, 16 * 2**20)
    assert (sink.replay.on, sink.cors_origins) == (False, [])


def test_empty_sections_are_as_none() -> None:
    whole = {"server": None, "database": None, "ingest": {}, "sink": {"sse": None}}
    assert from_mapping(whole, "c.yaml", HERE).server == Settings().server


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0),
        (1.5, 1.5),
        ("30", 30),
        (" 2.5 ", 2.5),
        ("30s", 30),
        ("1m 30s", 90),
        ("1h", 3600),
        ("2 days", 172800),
        ("1:30", 90),
        ("500ms", 0.5),
        ("1s 500 ms", 1.5),
        ("0.5ms", 0.0005),
    ],
)
def test_an_interval_is_a_number_or_text(written: object, seconds: float) -> None:
    assert Interval.read(written) == pytest.approx(seconds)
    assert _sse(_read({"retry": written})).retry == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "soon",
        "30 parsecs",
        "-1",
        -1,
        True,
        None,
        [],
        "1" * 101,
        "x ms",
        1e300,
        float("nan"),
        float("inf"),
        10**400,
        "101 years",
    ],
)
def test_what_is_no_interval_is_refused(written: object) -> None:
    (problem,) = _problems({"sink": {"sse": {"retry": written}}})
    assert problem.startswith("c.yaml: sink.sse.retry: ")
    assert "write" in problem


def test_a_pause_has_bounds() -> None:
    assert _sse(_read({"write_timeout": "10ms"})).write_timeout == 0.01
    for written in (0, "9ms", "25h"):
        (problem,) = _problems({"sink": {"sse": {"write_timeout": written}}})
        assert "at least 0.01 and at most 86400 seconds" in problem


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (1, 1),
        ("512", 512),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1MB", 10**6),
        ("1.5 KB", 1500),
        ("1GiB", 2**30),
        ("10b", 10),
    ],
)
def test_a_size_is_a_whole_number_or_text(written: object, count: int) -> None:
    assert Size.read(written) == count
    assert _read(ingest={"max_body": written}).ingest.max_body == count


@pytest.mark.parametrize("written", [0, -1, 1.5, True, None, "", "0", "1 XB", "lots", "2000GiB"])
def test_what_is_no_size_is_refused(written: object) -> None:
    (problem,) = _problems({"sink": {"sse": None}, "ingest": {"max_body": written}})
    assert problem.startswith("c.yaml: ingest.max_body: ")
    assert 'is not a size; write bytes or e.g. "64KiB"' in problem


def test_variables_are_expanded_after_yaml_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_PORT", "9001")
    monkeypatch.setenv("A_TOKEN", "x: [y] # 'z\"".replace(" ", "_"))
    monkeypatch.setenv("AN_EMPTY", "")
    monkeypatch.delenv("A_MISSING", raising=False)
    settings = _load(
        tmp_path,
        "server: {port: $A_PORT, workers: '${A_MISSING:-3}', host: '${AN_EMPTY:-::1}'}\n"
        "ingest: {tokens: ['${A_TOKEN}', 'pa$$word$$1', 'a${A_PORT}b$$$A_PORT']}\n"
        "sink: {sse: {replay: '${A_MISSING:-false}', retry: '${A_MISSING:-}1s'}}\n",
    )
    assert (settings.server.port, settings.server.workers) == (9001, 3)
    assert settings.server.host == "::1"
    assert settings.ingest.tokens == ["x:_[y]_#_'z\"", "pa$word$1", "a9001b$9001"]
    assert not _sse(settings).replay.on
    assert _sse(settings).retry == Interval(1)


def test_a_value_without_a_variable_keeps_its_type() -> None:
    (problem,) = _problems({"sink": {"sse": None}, "server": {"port": "9001"}})
    assert problem == 'c.yaml: server.port: "9001" is not a whole number'


def test_a_missing_variable_is_named_and_is_the_only_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("A_MISSING", raising=False)
    content = {"sink": {"sse": {"retry": "$A_MISSING"}}, "ingest": {"tokens": ["${A_MISSING}"]}}
    first, second = _problems(content)
    assert first.startswith("c.yaml: sink.sse.retry: the variable A_MISSING isn't set; set it in")
    assert second.startswith("c.yaml: ingest.tokens[0]: the variable A_MISSING isn't set; set it")
    assert second.endswith("or write ${A_MISSING:-default}")


def test_a_lone_brace_is_refused() -> None:
    (problem,) = _problems({"sink": {"sse": {"path": "${1"}}})
    assert problem.startswith("c.yaml: sink.sse.path: a lone ${; write ${VAR}")


def test_every_mistake_is_told_at_once_with_file_path_and_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(
            tmp_path,
            "server: {port: x, workers: true, host: 3, prot: 1}\n"
            "database: {url: 'mysql://x', retention: soon}\n"
            "ingest: {tokens: [short], auth: maybe, path: a b, max_batch: 0}\n"
            "sink:\n"
            "  sse: {match: 'a*', replay: soon, cors_origins: x}\n"
            "  live: {}\n"
            "  'a b': {type: sse}\n"
            "  other: 3\n"
            "  third: {type: ws}\n",
        )
    reported = dict(problem.split(": ", 2)[1:] for problem in caught.value.problems)
    assert all(p.startswith(f"{tmp_path / 'c.yaml'}: ") for p in caught.value.problems)
    expected = {
        "server.port": '"x" is not a whole number',
        "server.workers": "true is not a whole number",
        "server.host": "3 is not text; put it in quotes",
        "server.prot": "is not a setting; did you mean port?",
        "database.url": '"mysql://x" is not a log; write sqlite:/// and a file',
        "database.retention": '"soon" is not an interval; write seconds',
        "ingest.tokens[0]": "is not a token; write 8 or more visible ASCII characters",
        "ingest.auth": '"maybe" is not allowed',
        "ingest.path": '"a b" is not a plain path; write',
        "ingest.max_batch": "0 is not allowed: expected `int` >= 1",
        "sink.sse.match": "'a*' is not a pattern; write",
        "sink.sse.replay": '"soon" doesn\'t say how far back to replay; write true',
        "sink.sse.cors_origins": '"x" is not a list; write [a, b]',
        "sink.live.type": 'is missing; write "type: sse" or "type: http_pull"',
        "sink.a b": "is no name for a URL; write letters",
        "sink.other": "3 is not a section; write keys and values under it",
        "sink.third.type": '"ws" is not allowed',
    }
    assert {
        path: reported.get(path, "")[: len(what)] for path, what in expected.items()
    } == expected
    assert len(caught.value.problems) == len(expected)


def test_an_unknown_key_like_no_other_is_told_what_there_is() -> None:
    (problem,) = _problems({"sink": {"sse": None}, "qqq": 1})
    assert problem == (
        "c.yaml: qqq: is not a setting; "
        "the settings here are server, database, ingest, access, sink"
    )


@pytest.mark.parametrize("text", ["sink: {sse: }\nsink: {sse: }", "sink: {sse: {}, sse: {}}"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"'(sink|sse)' stands twice; keep one of them"):
        _load(tmp_path, text)


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "sink:\n  sse: &s {type: sse, retry: 1, path: a}\n  b: {<<: *s, retry: 2}\n"
    settings = _load(tmp_path, text)
    assert float(_sse(settings, "b").retry) == 2
    assert str(_sse(settings, "b").path) == "/a"


def test_the_type_may_be_left_out_only_where_the_name_is_the_type() -> None:
    assert _sse(_read({})).type == "sse"
    named = from_mapping({"sink": {"live": {"type": "sse"}}}, "c.yaml", HERE)
    assert _sse(named, "live").type == "sse"
    for item in (None, {}, {"retry": 1}):
        (problem,) = _problems({"sink": {"live": item}})
        assert (
            problem == 'c.yaml: sink.live.type: is missing; write "type: sse" or "type: http_pull"'
        )


@pytest.mark.parametrize("content", [{}, {"sink": None}, {"sink": {}}])
def test_no_sink_is_a_mistake(content: object) -> None:
    assert _problems(content) == [
        "c.yaml: sink: is missing or empty; write a name and under it "
        "`type: sse` or `type: http_pull`"
    ]


@pytest.mark.parametrize("content", [[], "text", 3, {"sink": []}, {"sink": "x"}])
def test_what_is_no_section_is_refused(content: object) -> None:
    assert "is not a section; write" in _problems(content)[0]


@pytest.mark.parametrize(
    ("written", "path"),
    [("", "/"), ("/", "/"), ("live", "/live"), ("/live/", "/live/"), ("a/b.c", "/a/b.c")],
)
def test_a_path_may_leave_out_its_slash(written: str, path: str) -> None:
    sink = _sse(_read({"path": written}))
    assert sink.path == path
    assert [route.url for route in SINK_TYPES["sse"].urls("sse", sink)] == ["/sse" + path]


@pytest.mark.parametrize("written", ["//a", "a//b", "../x", ".", "a b", "<x>", "é", "a\n", 3])
def test_a_path_that_is_not_plain_is_refused(written: object) -> None:
    (problem,) = _problems({"sink": {"sse": {"path": written}}})
    assert problem.startswith("c.yaml: sink.sse.path: ")


@pytest.mark.parametrize(
    "url",
    ["", "events.db", "sqlite:", "sqlite://x", "sqlite:///", "sqlite:////:memory:", "pg:///x"],
)
def test_a_database_url_that_names_no_file_is_refused(url: str) -> None:
    (problem,) = _problems({"sink": {"sse": None}, "database": {"url": url}})
    assert problem.startswith("c.yaml: database.url: ")


def test_a_relative_database_is_relative_to_the_file_and_an_absolute_one_is_not() -> None:
    assert _read(database={"url": "sqlite:///a/b.db"}).database.url == "sqlite:////srv/app/a/b.db"
    assert _read(database={"url": "sqlite:////a/b.db"}).database.url == "sqlite:////a/b.db"


def test_settings_which_contradict_each_other_are_refused() -> None:
    open_with_tokens = {"auth": "none", "tokens": ["12345678"]}
    (problem,) = _problems({"sink": {"sse": None}, "ingest": open_with_tokens})
    assert problem.startswith("c.yaml: ingest.auth: is none although there are tokens; keep one")
    (problem,) = _problems({"sink": {"sse": {"path": "x"}}, "ingest": {"path": "sse/x/"}})
    assert problem.startswith("c.yaml: sink.sse: meets ingest.path at /sse/x/; change one")


@pytest.mark.parametrize("token", ["1234567", "1234567\u00e9", "1234 5678", "12345678\n", ""])
def test_a_token_is_eight_visible_ascii_characters_at_least(token: str) -> None:
    (problem,) = _problems({"sink": {"sse": None}, "ingest": {"tokens": ["x" * 8, token]}})
    assert problem in (
        "c.yaml: ingest.tokens[1]: is not a token; write 8 or more visible ASCII characters",
        "c.yaml: ingest.tokens[1]: holds a control character; write plain text",
    )


def test_a_match_is_a_pattern_or_a_list_of_them() -> None:
    assert _sse(_read({"match": "user.*"})).match.filter.types.values() == ["user.*"]
    assert _sse(_read({"match": ["b", "a.*"]})).match.filter.types.values() == ["a.*", "b"]
    for written in ([], 3, [3], {"a": 1}, "", ["*", "a*"]):
        (problem,) = _problems({"sink": {"sse": {"match": written}}})
        assert problem.startswith("c.yaml: sink.sse.match: ")


@pytest.mark.parametrize(
    "text", ["a: [", "\ta", "%", "a: b: c", "? [a]\n: b", "a: !!python/name:os.system", "[" * 5000]
)
def test_what_is_not_yaml_is_refused_on_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml: not YAML: ") as caught:
        _load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_structure_that_holds_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is nested too deeply, or holds itself; write it out"):
        _load(tmp_path, "sink: &a {sse: *a}")


def test_a_file_that_cannot_be_read_is_told_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"can't be read .*`sse-sink init` makes one, or name another in {FILE_VARIABLE}",
    ):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path)
    (tmp_path / "bad.yaml").write_bytes(b"sink: \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 6; save it as UTF-8"):
        load(tmp_path / "bad.yaml")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds more than 262144 bytes; is it the right file"):
        _load(tmp_path, "#" * 2**18 + "\n")


def test_the_file_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    assert default_file() == Path("config.yaml")
    monkeypatch.setenv(FILE_VARIABLE, "/etc/x.yaml")
    assert default_file() == Path("/etc/x.yaml")


GOOD: list[dict[str, Any]] = [
    {"sink": {"sse": None}},
    {"server": None, "database": None, "ingest": None, "sink": {"sse": {}}},
    {"sink": {"live": {"type": "sse", "match": ["a", "b.*"], "retry": "1s", "queue_size": 1}}},
    {"sink": {"sse": {"queue_bytes": "1MiB", "cors_origins": ["https://a.example"]}}},
    {"sink": {"sse": None}, "server": {"port": "${A_PORT:-1}", "workers": 4}},
    {"sink": {"sse": None}, "ingest": {"tokens": ["${A_TOKEN:-12345678}"], "auth": "token"}},
]
BAD: list[Any] = [
    [],
    {"sink": {}},
    {"sink": {"a b": None}},
    {"sink": {"sse": 3}},
    {"sink": {"sse": {"type": "ws"}}},
    {"sink": {"sse": {"queue_size": 0}}},
    {"sink": {"sse": {"match": []}}},
    {"sink": {"sse": {"match": 3}}},
    {"sink": {"sse": {"retry": True}}},
    {"sink": {"sse": {"cors_origins": "x"}}},
    {"sink": {"sse": {"colour": "red"}}},
    {"sink": {"sse": None}, "server": {"port": 65536}},
    {"sink": {"sse": None}, "server": {"port": "9001"}},
    {"sink": {"sse": None}, "ingest": {"auth": "maybe"}},
    {"sink": {"sse": None}, "other": {}},
]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("content", GOOD)
def test_the_schema_takes_what_the_reader_takes(content: dict[str, Any]) -> None:
    jsonschema.validate(content, schema(), jsonschema.Draft202012Validator)
    from_mapping(content, "c.yaml", HERE)


@pytest.mark.parametrize("content", BAD)
def test_the_schema_refuses_what_the_reader_refuses(content: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema(), jsonschema.Draft202012Validator)
    assert _problems(content)


_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=5)
    | st.dates()
    | st.sampled_from(["${", "$$", "${A_MISSING}", "${A_MISSING:-9}", "1h", "64KiB", "sse", "*"])
)
_names = st.sampled_from(
    [
        "server",
        "database",
        "ingest",
        "sink",
        "sse",
        *SSESettings.__struct_fields__,
        "port",
        "host",
        "url",
        "retention",
        "tokens",
        "auth",
        "max_body",
        "max_batch",
        "workers",
    ]
)
_tree = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_names | st.text(max_size=5) | st.integers(), inner, max_size=5)
    ),
    max_leaves=20,
)
_sections = st.dictionaries(
    st.sampled_from(["server", "database", "ingest", "sink"]),
    st.dictionaries(_names, _leaf | st.dictionaries(_names, _tree, max_size=4), max_size=4),
)


@given(_tree | _sections)
def test_reading_any_mapping_gives_settings_or_config_error(content: object) -> None:
    try:
        settings = from_mapping(content, "c.yaml", HERE)
    except ConfigError as error:
        assert error.problems
        assert all(problem.startswith("c.yaml: ") for problem in error.problems)
    else:
        assert settings.sink
        assert all(sink.type == "sse" for sink in settings.sink.values())


@given(
    st.binary()
    | st.text().map(lambda s: s.encode())
    | st.text("abs:{}[]-&*#|>\"'\n 0.").map(str.encode)
    | _sections.map(lambda value: yaml.safe_dump(value).encode())
)
def test_loading_any_file_gives_settings_or_config_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.yaml"
        file.write_bytes(content)
        try:
            settings = load(file)
        except ConfigError as error:
            assert all(problem.startswith(f"{file}: ") for problem in error.problems)
        else:
            assert settings.sink


@pytest.mark.parametrize(
    "text",
    [
        "!!timestamp x",
        "a: !!bool x",
        "a: !!int ''",
        "a: !!float ''",
        'a: !!int "-"',
        'sink: {a: {type: "\\ud800"}}',
        'database: {url: "sqlite:///a\\0b"}\nsink: {sse: }',
    ],
)
def test_what_yaml_stumbles_over_is_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        load(file)


def test_an_empty_type_is_a_missing_one() -> None:
    with pytest.raises(ConfigError, match=r"sink\.foo\.type: is missing"):
        from_mapping({"sink": {"foo": {"type": None}}}, "c", Path("/"))


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example",
        "http://localhost:3000",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "https://xn--bcher-kva.example",
        "chrome-extension://abcdefghijklmnop",
        "*",
        "capacitor://localhost",
        "http://[2001:db8::1]",
    ],
)
def test_an_origin_is_taken_as_browsers_send_it(origin: str) -> None:
    assert _sse(_read({"cors_origins": [origin]})).cors_origins == [origin]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://a.example/", "https://a.example"),
        ("https://a.example/page?x#y", "https://a.example"),
        ("https://A.example", "https://a.example"),
        ("HTTPS://a.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:0443", "http://a.example:443"),
        ("https://user@a.example", "https://a.example"),
        ("http://[0:0::1]:80", "http://[::1]"),
        ("https://*.example.com", ""),
        ("https://.*", ""),
        (r"https://a\.example", ""),
        ("https://(a|b).example", ""),
        ("^https://a.example$", ""),
        (".*", ""),
        ("a.example", ""),
        ("//a.example", ""),
        ("https://", ""),
        ("https://a..example", ""),
        ("https://a.example:65536", ""),
        ("https://a.example:x", ""),
        ("https://b\u00fccher.example", ""),
        ("https://a.example,https://b.example", ""),
        (" https://a.example", ""),
        ("http://[::1", ""),
        ("http://[::x]", ""),
        ("null", ""),
        ("", ""),
        (3, ""),
        (None, ""),
    ],
)
def test_what_is_no_origin_is_refused_with_the_one_that_is_meant(
    written: object, meant: str
) -> None:
    (problem,) = _problems({"sink": {"sse": {"cors_origins": ["https://b.example", written]}}})
    assert problem.startswith("c.yaml: sink.sse.cors_origins[1]: ")
    assert " is not an origin; " in problem
    assert "write scheme, host and port" in problem.lower()
    assert (f"did you mean {meant}?" in problem) == bool(meant)


def test_every_origin_stands_alone() -> None:
    (problem,) = _problems({"sink": {"sse": {"cors_origins": ["*", "https://a.example"]}}})
    assert problem.startswith('c.yaml: sink.sse.cors_origins: "*" stands beside others; keep it')


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"database: {{url: 'redis://:{SECRET}/x@host:6379/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://:{SECRET}#x@host:6379/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://:{SECRET}?x@host:6379/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://:{SECRET}?x=y@host:6379/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@host:port/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@host:99999/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@host:6379/abc'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@[::1/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@ho st/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://u:{SECRET}@host?db=x'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://host?password={SECRET}&db=x'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis://host?passwort={SECRET}'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis+sentinel://u:{SECRET}@host'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis+sentinel://u:{SECRET}@host:x/service'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis+cluster://u:{SECRET}@host/1'}}\nsink: {{sse: }}",
        f"database: {{url: 'postgres://u:{SECRET}@host/0'}}\nsink: {{sse: }}",
        f"database: {{url: 'redis:/u:{SECRET}@host/0'}}\nsink: {{sse: }}",
        f"database: {{url: ['redis://u:{SECRET}@host/0']}}\nsink: {{sse: }}",
        f"database: 'redis://u:{SECRET}@host/0'\nsink: {{sse: }}",
        f"ingest: {{tokens: {SECRET}}}\nsink: {{sse: }}",
        f"ingest: {{tokens: ['{SECRET}', short]}}\nsink: {{sse: }}",
        f"ingest: {{tokens: ['{SECRET} ']}}\nsink: {{sse: }}",
        f"ingest: {{tokens: [[{SECRET}]]}}\nsink: {{sse: }}",
        f"ingest: {SECRET}\nsink: {{sse: }}",
        f"{SECRET}",
        f"ingest: {{tokens: ['{SECRET}\nsink: {{sse: }}",
        f"ingest: {{tokens: [{SECRET}: x: y]}}",
        f"ingest: {{tokens: [!!int {SECRET}]}}",
        f"ingest: {{tokens: [!!float {SECRET}]}}",
        f"ingest: {{tokens: [!!timestamp {SECRET}]}}",
        f"ingest: {{tokens: [!!binary {SECRET}]}}",
        f"ingest: {{tokens: [\0{SECRET}]}}",
        f"server: {{host: 'http://u:{SECRET}@host'}}\nsink: {{sse: }}",
    ],
)
def test_no_message_repeats_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        create_app(file)
    assert SECRET not in str(caught.value)
    # Nor any part of it that a URL was parted at.
    assert "hunter2" not in str(caught.value)
    assert all(problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://host:6379",
        "redis://host:6379/0",
        "redis://:p%2Fw%23%3F@host:6379/0",
        "redis://:p@w@host:6379/0",
        "rediss://user:pw@host/3?ssl_cert_reqs=none&socket_timeout=2.5",
        "valkey://10.0.0.1:6379/0?client_name=x",
        "redis://[::1]:6379/0",
        "redis://host_with-all.chars:1/15",
        "unix:///run/redis.sock?db=2",
        "unix://user:pw@/run/redis.sock",
        "redis+sentinel://a,b:26379,10.0.0.1:1/service/0",
        "redis+sentinel://u:pw@a/service",
        "redis+cluster://host:7000",
    ],
)
def test_a_url_of_redis_is_taken(url: str) -> None:
    assert _read(database={"url": url}).database.url == url
    log = open_log(_read(database={"url": url}).database)
    assert isinstance(log, RedisLog)
    assert log.name == re.sub("//.*@", "//", url).partition("?")[0]


@pytest.mark.parametrize(
    "host",
    [
        "http://0.0.0.0",
        "0.0.0.0:8000",
        "[::1]",
        "[::1]:8000",
        "a b",
        "unix:/x",
        "",
        "256.1.1.1",
        "1.2.3",
        "a..b",
        "*",
        "localhost/",
        ":8000",
        "::1::",
        "\u00e9.example",
        "x" * 300,
        ".a",
    ],
)
def test_a_host_with_a_scheme_or_port_is_refused(host: str) -> None:
    (problem,) = _problems({"sink": {"sse": None}, "server": {"host": host}})
    assert problem.startswith("c.yaml: server.host: ")
    assert "(the port is server.port)" in problem


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "localhost", "a-b.example", "fe80::1%1"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert _read(server={"host": host}).server.host == host


@pytest.mark.parametrize("name", ["sse_sink_ingest", "sse_sink_health", "sse_sink_pages"])
def test_a_sink_is_not_named_like_a_blueprint_of_ours(tmp_path: Path, name: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"sink: {{{name}: {{type: sse}}}}\n")
    with pytest.raises(ConfigError, match=f"sink.{name}: sse_sink_ begins names of our own"):
        create_app(file)


@pytest.mark.parametrize("name", ["static", "ingest", "metrics", "healthz", "readyz", "-"])
def test_any_name_of_a_sink_is_taken_or_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"database: {{url: 'sqlite:///e.db'}}\nsink: {{{name}: {{type: sse}}}}\n")
    with contextlib.suppress(ConfigError):
        runtime_of(create_app(file)).close()


@pytest.mark.parametrize("place", ["", "sub/", "x" * 300, "file/x.db"])
def test_a_place_where_no_log_can_be_is_told_or_waited_for(tmp_path: Path, place: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    file = tmp_path / "c.yaml"
    file.write_text(f"database: {{url: 'sqlite:///{tmp_path}/{place}'}}\nsink: {{sse: }}\n")
    if place == "file/x.db":
        runtime_of(create_app(file)).close()
        return
    with pytest.raises(LogUnusable, match=r"name a(nother)? file"):
        create_app(file)


def _bomb(levels: int, width: int, merge: bool) -> str:
    """Return YAML in which each level holds the one before so many times."""
    lines = ["x0: &x0 {" + ", ".join(f"k{n}: 1" for n in range(width)) + "}"]
    for level in range(1, levels):
        inner = ", ".join([f"*x{level - 1}"] * width)
        lines.append(f"x{level}: &x{level} " + (f"{{<<: [{inner}]}}" if merge else f"[{inner}]"))
    return "\n".join([*lines, f"sink: *x{levels - 1}"])


@pytest.mark.parametrize(
    "text",
    [
        _bomb(9, 9, False),
        _bomb(9, 9, True),
        _bomb(3, 3000, False),
        _bomb(3, 3000, True),
        _bomb(19, 2, True),
        "a: &a {<<: *a}",
        "sink: {sse: {match: [" + "x, " * 30_000 + "]}}",
        "sink: {sse: {queue_size: " + "1:" * 50_000 + "1}}",
        "sink: {sse: {queue_size: " + "9" * 5000 + "}}",
        "sink: {sse: {retry: " + "1:" * 50_000 + "1.5}}",
        "#" * 300_000,
    ],
    ids=[
        "list",
        "merge",
        "wide",
        "wide merge",
        "deep merge",
        "itself",
        "long",
        "int",
        "digits",
        "float",
        "large",
    ],
)
def test_a_bomb_is_refused_soon_and_in_little_memory(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    began = time.process_time()
    with grows_less_than(300), pytest.raises(ConfigError) as caught:
        load(file)
    assert time.process_time() - began < 10
    assert len(str(caught.value)) < 20_000


def test_a_mapping_that_is_merged_before_it_is_read_is_no_repeat(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        "sink:\n  a: &a {type: sse, retry: 1}\n  b: &b {<<: *a, retry: 2}\n"
        "  c: {<<: *b, retry: 3}\n  d: {<<: [*b, *a]}\n",
    )
    assert [float(_sse(settings, name).retry) for name in "abcd"] == [1, 2, 3, 2]


_urls = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["sqlite:///", "sqlite://", "redis://", "unix://", "redis+sentinel://", "x:"]),
    st.sampled_from(["", "u:p@", ":p/w@", ":p#w@", "@", "[", "::"]),
    st.sampled_from(["", "h", "h:1", "h:x", "[::1]", "[::1", "a,b", "events.db", "%zz"]),
    st.sampled_from(["", "/", "/0", "/abc", "/s/0", "//", "/\u00e9"]),
    st.sampled_from(["", "?db=1", "?db=x", "?ssl_x=1", "?", "#", "?a", "?timeout=1&x=%"]),
)


@given(_urls | st.text(max_size=30))
@settings(max_examples=at_most(300), deadline=None)
def test_any_database_url_opens_a_log_or_is_a_config_error(url: str) -> None:
    try:
        log = open_log(from_mapping(_with_url(url), "c.yaml", HERE).database)
    except ConfigError:
        return
    log.close()


def _with_url(url: str) -> dict[str, Any]:
    return {"sink": {"sse": None}, "database": {"url": url}}
