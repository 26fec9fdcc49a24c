"""The console in a browser: every state, every button, and data that means harm."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from support.access import Browser as Client
from support.browser import Browser, Page
from support.console import console_page, violations
from support.measured import Measured
from support.processes import run_command
from support.server import Server
from support.waiting import wait_until

TOKEN = "a-token-that-publishes"
READER = "a-token-that-reads-the-inbox"
STRANGER = "a-token-that-reads-nothing-here"

expect.set_options(timeout=20_000)


def settings() -> dict[str, Any]:
    return {
        "server": {"workers": 1},
        "access": {
            "secret": "a-secret-of-the-tests-with-32-bytes-and-more",
            "tokens": [
                {"token": READER, "name": "reader", "subscribe": [{"sink": "inbox"}]},
                {"token": STRANGER, "name": "stranger", "subscribe": []},
            ],
        },
        "ingest": {"tokens": [TOKEN]},
        "sink": {
            "events_stream": {"type": "sse", "replay": True, "retry": 0.2},
            "logins": {"type": "sse", "match": "user.*", "path": "/live"},
            "tiny": {"type": "sse", "max_clients": 1, "retry": 0.2},
            "inbox": {"type": "sse", "access": "token", "match": "order.*"},
            "cloud": {"type": "sse", "format": "cloudevents"},
            "warehouse": {"type": "http_pull", "access": "none", "match": "order.*"},
        },
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("console"), settings()) as server:
        yield server
    assert "Traceback" not in server.log, server.log


@pytest.fixture
def page(driven: Browser) -> Iterator[Page]:
    with console_page(driven) as page:
        yield page


def event(event_type: str, **more: Any) -> dict[str, Any]:
    return {"event_type": event_type, **more}


def open_console(page: Page, server: Server, path: str = "/events_stream/") -> None:
    page.goto(server.url(path))
    expect(page.locator("#state-word")).to_have_text("Live")


def field(place: Any, name: str) -> Any:
    """Return the field with this label in a page, or in a part of one."""
    return place.get_by_role("textbox", name=name)


def rows(page: Page) -> Any:
    return page.locator("#rows tr.event")


def marks(page: Page) -> list[str]:
    """Return the marks in view without their times, the newest first."""
    return [re.sub(r"^[\d:.]+\s+", "", text) for text in page.locator("tr.mark").all_inner_texts()]


def cell(page: Page, name: str, row: int = 0) -> Any:
    return rows(page).nth(row).locator(f"td.{name}")


# What the page shows.


def test_the_front_page_streams_the_first_open_sink(page: Page, server: Server) -> None:
    open_console(page, server, "/")
    expect(page.locator("h1:visible")).to_have_text("events_stream")
    expect(page.get_by_role("link", name="events_stream")).to_have_attribute(
        "aria-current", "page"
    )
    (id,) = server.post(
        [event("user.login", entity_id="user-1", source="web", data={"ip": "1.2.3.4"})]
    )
    expect(cell(page, "id")).to_have_text(str(id))
    expect(cell(page, "type")).to_have_text("user.login")
    expect(cell(page, "entity")).to_have_text("user-1")
    expect(cell(page, "source")).to_have_text("web")
    expect(cell(page, "data")).to_have_text('{"ip":"1.2.3.4"}')
    expect(cell(page, "size")).to_have_text(re.compile(r"^\d+ B$"))
    expect(cell(page, "latency")).to_have_text(re.compile(r"^(<?\d+ ms|[\d.]+ s)$"))
    expect(page.get_by_role("link", name="events_stream")).to_contain_text("1 client")
    expect(page.get_by_role("link", name="events_stream")).to_contain_text("0 missed")


def test_a_sinks_url_shows_the_console_on_that_sink_with_its_query(
    page: Page, server: Server
) -> None:
    open_console(page, server, "/logins/live?event_type=user.login,user.logout&source=a")
    expect(page.locator("h1:visible")).to_have_text("logins")
    expect(field(page, "Type")).to_have_value("user.login,user.logout")
    expect(field(page, "Source")).to_have_value("a")
    expect(field(page, "Replay from")).to_be_disabled()
    server.post([event("user.login", source="b"), event("user.logout", source="a")])
    expect(rows(page)).to_have_count(1)
    expect(cell(page, "type")).to_have_text("user.logout")


def test_a_sink_is_selected_in_the_page_and_by_the_browsers_buttons(
    page: Page, server: Server
) -> None:
    open_console(page, server)
    page.get_by_role("link", name="logins").click()
    expect(page.locator("h1:visible")).to_have_text("logins")
    expect(page).to_have_url(server.url("/logins/live"))
    expect(page.locator("#state-word")).to_have_text("Live")
    page.get_by_role("link", name="warehouse").click()
    expect(page.locator("h1:visible")).to_have_text("warehouse")
    expect(page.locator("#pulled-numbers")).to_contain_text("unconfirmed")
    expect(page.locator("#pulled-routes tr")).to_have_count(6)
    expect(page.locator("#pulled-code")).to_contain_text("curl 'http")
    for _ in range(2):
        page.go_back()
        expect(page.locator("h1:visible")).to_have_text("logins")
        page.go_forward()
        expect(page.locator("h1:visible")).to_have_text("warehouse")
    page.go_back()
    expect(page.locator("h1:visible")).to_have_text("logins")
    page.go_back()
    expect(page.locator("h1:visible")).to_have_text("events_stream")
    expect(page.locator("#state-word")).to_have_text("Live")


def test_repeated_values_in_the_url_are_taken_whole(page: Page, server: Server) -> None:
    query = "?entity_id=a%2Cb&entity_id=c"
    open_console(page, server, f"/events_stream/{query}")
    expect(field(page, "Entity")).to_have_value("a,b,c")
    expect(page).to_have_url(server.url(f"/events_stream/{query}"))
    server.post([event("whole", entity_id=entity) for entity in ("a", "b", "a,b")])
    expect(cell(page, "entity")).to_have_text("a,b")
    expect(rows(page)).to_have_count(1)


def test_filters_narrow_the_stream_and_stand_in_the_url(page: Page, server: Server) -> None:
    open_console(page, server)
    field(page, "Type").fill("order.*")
    field(page, "Entity").fill("o-1")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"\?event_type=order\.\*&entity_id=o-1$"))
    expect(page.locator("tr.mark")).to_have_count(1)
    server.post([event("order.made", entity_id="o-2"), event("order.made", entity_id="o-1")])
    expect(rows(page)).to_have_count(1)
    expect(cell(page, "entity")).to_have_text("o-1")


def test_events_are_replayed_from_an_id_and_from_a_time(page: Page, server: Server) -> None:
    ids = server.post([event("replayed.a"), event("replayed.b")])
    open_console(page, server)
    field(page, "Type").fill("replayed.*")
    for start, shown in ((str(ids[0]), 1), ("earliest", 2), ("1h", 2)):
        field(page, "Replay from").fill(start)
        page.get_by_role("button", name="Apply").click()
        expect(rows(page)).to_have_count(shown)
        expect(cell(page, "latency")).to_have_text("replay")


# The states of a stream.


def test_a_gap_is_marked(page: Page, server: Server) -> None:
    (head,) = server.post([event("a")])
    open_console(page, server, f"/events_stream/?last_event_id={head + 1000}&event_type=no")
    expect(page.locator("tr.mark.bad")).to_contain_text("Events were missed")
    expect(page.locator("tr.mark.bad")).to_contain_text(f"asked {head + 1000}, newest {head}")


def test_a_full_sink_is_busy_and_says_why_until_there_is_a_place(
    page: Page, driven: Browser, server: Server
) -> None:
    with console_page(driven) as other:
        open_console(other, server, "/tiny/")
        page.goto(server.url("/tiny/"))
        expect(page.locator("#state-word")).to_have_text("Busy")
        expect(page.locator("#state-detail")).to_contain_text("503 Too many clients")
        expect(page.locator("#state-detail")).to_contain_text("all 1 streams of this sink")
    expect(page.locator("#state-word")).to_have_text("Live")


def test_a_query_that_is_refused_closes_the_stream_and_says_why(
    page: Page, server: Server
) -> None:
    page.goto(server.url("/events_stream/?event_type=a*"))
    expect(page.locator("#state-word")).to_have_text("Closed")
    expect(page.locator("#state-detail")).to_contain_text("400 Malformed event_type")
    expect(page.locator("tr.mark.bad")).to_contain_text("The stream ended: 400")
    field(page, "Type").fill("a")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#state-word")).to_have_text("Live")


def test_a_stream_goes_on_when_the_server_was_loaded_again(page: Page, server: Server) -> None:
    open_console(page, server)
    server.post([event("before")])
    expect(rows(page)).to_have_count(1)
    page.route("**/events_stream/*", lambda route: route.abort())
    workers = server.workers()
    os.kill(server.pid, signal.SIGHUP)
    expect(page.locator("tr.mark", has_text="closing")).to_have_count(1)
    expect(page.locator("#state-word")).to_have_text("Reconnecting")
    expect(page.locator("#state-detail")).to_contain_text("trying again in")
    wait_until(lambda: not {*workers} & {*server.workers()}, "the workers are other ones")
    server.post([event("after")])
    page.unroute_all()
    expect(page.locator("#state-word")).to_have_text("Live")
    expect(page.locator("tr.mark", has_text="Connected again")).to_have_count(1)
    # It was published before the stream was there again: the sink replays it.
    expect(cell(page, "type")).to_have_text("after")
    expect(rows(page)).to_have_count(2)


def test_a_browser_without_a_network_says_so(page: Page, server: Server) -> None:
    open_console(page, server)
    page.context.set_offline(True)
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#state-word")).to_have_text("Offline")
    page.context.set_offline(False)
    expect(page.locator("#state-word")).to_have_text("Live")


def test_the_reader_ends_the_stream_and_it_goes_on_where_it_was(
    page: Page, server: Server
) -> None:
    open_console(page, server)
    server.post([event("one")])
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Disconnect").click()
    expect(page.locator("#state-word")).to_have_text("Closed")
    expect(page.locator("#state-detail")).to_have_text("you ended it")
    server.post([event("two")])
    page.get_by_role("button", name="Connect").click()
    expect(page.locator("#state-word")).to_have_text("Live")
    expect(rows(page)).to_have_count(2)
    expect(cell(page, "type")).to_have_text("two")


# Closed sinks.


def give_token(page: Page, token: str) -> None:
    field(page, "Token").fill(token)
    page.get_by_role("button", name="Open the stream").click()


def kept_by(page: Page) -> str:
    """Return whatever the browser keeps of a page, and where the page is."""
    return str(
        page.evaluate(
            "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,"
            " location.href, history.state, document.documentElement.outerHTML,"
            " [...document.querySelectorAll('input')].map((field) => field.value)])"
        )
    )


def test_a_closed_sink_is_read_with_a_token_that_only_the_page_has(
    page: Page, server: Server
) -> None:
    page.goto(server.url("/inbox/"))
    expect(page.locator("#token-why")).to_contain_text("This sink is closed")
    expect(page.locator("#state-detail")).to_have_text("this sink needs a token")
    give_token(page, STRANGER)
    expect(page.locator("#token-why")).to_contain_text("403")
    give_token(page, "not-a-token-of-this-server")
    expect(page.locator("#token-why")).to_contain_text("401")
    give_token(page, READER)
    expect(page.locator("#state-word")).to_have_text("Live")
    expect(page.locator("#token-form")).to_be_hidden()
    server.post([event("order.made", data={"total": 1.50})])
    expect(cell(page, "data")).to_have_text('{"total":1.5}')
    assert READER not in kept_by(page)
    # The token is still there when the reader comes back to this sink.
    page.get_by_role("link", name="logins").click()
    page.get_by_role("link", name="inbox").click()
    expect(page.locator("#state-word")).to_have_text("Live")
    page.reload()
    expect(page.locator("#token-why")).to_contain_text("This sink is closed")


def test_a_revoked_token_ends_the_stream_and_another_is_asked_for(
    page: Page, server: Server
) -> None:
    page.goto(server.url("/inbox/"))
    give_token(page, READER)
    expect(page.locator("#state-word")).to_have_text("Live")
    try:
        run_command(server.config, "revoke", "reader")
        expect(page.locator("tr.mark", has_text="expired")).to_have_count(1)
        expect(page.locator("#token-why")).to_contain_text("401")
        expect(page.locator("#state-word")).to_have_text("Closed")
    finally:
        run_command(server.config, "unrevoke", "reader")


def test_a_closed_sink_is_read_with_the_browsers_cookie(page: Page, server: Server) -> None:
    page.goto(server.url("/inbox/"))
    page.get_by_role("button", name="cookie").click()
    expect(page.locator("#token-why")).to_contain_text("401")
    page.context.add_cookies(
        [{"name": "sse_access_token", "value": READER, "url": server.url("")}]
    )
    page.get_by_role("button", name="cookie").click()
    expect(page.locator("#state-word")).to_have_text("Live")


def test_strangers_see_of_a_closed_sink_its_name_and_path_alone(server: Server) -> None:
    client = Client(server.port)
    _, text = client.send("/", headers={"Accept": "text/html"})
    (data,) = re.findall("data-page='(.*?)'>", text)
    sinks = {each["name"]: each for each in json.loads(data.replace("&#39;", "'"))["sinks"]}
    assert sinks["inbox"] == {
        "name": "inbox",
        "stream": True,
        "closed": True,
        "url": "/inbox/",
        "routes": [{"method": "GET", "url": "/inbox/"}],
    }
    _, text = client.send("/console/sinks.json")
    assert json.loads(text)["sinks"].keys() == {
        "events_stream",
        "logins",
        "tiny",
        "cloud",
        "warehouse",
    }


# The table.


def test_a_paused_table_stays_and_counts_what_comes(page: Page, server: Server) -> None:
    open_console(page, server)
    server.post([event("seen")])
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    server.post([event("later")] * 3)
    expect(page.get_by_role("button", name="Resume (3)")).to_be_visible()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(rows(page)).to_have_count(4)
    page.get_by_role("button", name="Clear").click()
    expect(rows(page)).to_have_count(0)
    expect(page.locator("#empty")).to_have_text("Waiting for events.")


def test_a_thousand_rows_are_kept_also_while_it_is_paused(page: Page, server: Server) -> None:
    open_console(page, server)
    page.get_by_role("button", name="Pause").click()
    server.post([event("many", data={"n": n}) for n in range(1500)])
    expect(page.get_by_role("button", name="Resume (1,500)")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(cell(page, "data")).to_have_text('{"n":1499}')
    expect(page.locator("#grid")).to_have_attribute("aria-rowcount", "1001")
    assert page.locator("#rows tr").count() < 100
    page.locator("#grid").focus()
    page.keyboard.press("End")
    expect(page.locator("tr.active td.data")).to_have_text('{"n":500}')


def test_the_search_finds_text_anywhere_in_an_event_and_marks_it(
    page: Page, server: Server
) -> None:
    open_console(page, server)
    server.post(
        [
            event(
                "found.here", data={"text": 'she said "Hello"', "deep": {"er": [{"x": "HELLO"}]}}
            ),
            event("other", data=1),
        ]
    )
    expect(rows(page)).to_have_count(2)
    page.get_by_role("searchbox").fill('"hello"')
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#found")).to_have_text("1 event found")
    page.get_by_role("searchbox").fill("nothing has this")
    expect(page.locator("#found")).to_have_text("0 events found")
    page.get_by_role("searchbox").fill("hello")
    expect(page.locator("#found")).to_have_text("1 event found")
    cell(page, "type").click()
    # What is found in a part that would be folded is opened.
    expect(page.locator("#detail mark")).to_have_text(["Hello", "HELLO"])


def test_json_is_shown_to_the_digit_and_folded(page: Page, server: Server) -> None:
    open_console(page, server)
    exact = (
        '{"event_type": "exact", "meta": {"trace": "t-1"}, "data": {"big": 12345678901234567890,'
        ' "price": 1.50, "list": [[1, 2]], "long": ' + json.dumps([0] * 250) + "}}"
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert Client(server.port).send("/ingest", exact.encode(), headers)[0] == 201
    cell(page, "type").click()
    detail = page.locator("#detail")
    expect(detail).to_contain_text("big: 12345678901234567890")
    expect(detail).to_contain_text("price: 1.50")
    expect(detail).to_contain_text("trace: t-1")
    expect(detail.get_by_text("1: 2")).to_have_count(0)
    detail.locator("summary", has_text="[2 items ]").click()
    expect(detail.get_by_text("1: 2")).to_be_visible()
    detail.get_by_role("button", name="150 more").click()
    expect(detail.get_by_role("button", name="50 more")).to_be_visible()
    detail.get_by_role("button", name="Close").click()
    expect(detail).to_be_hidden()


def test_the_latency_takes_the_difference_of_the_clocks_into_account(
    page: Page, server: Server
) -> None:
    # The browser's clock is an hour ahead.
    page.add_init_script("const now = Date.now; Date.now = () => now() + 3_600_000")
    open_console(page, server)
    server.post([event("now")])
    expect(cell(page, "latency")).to_have_text(re.compile(r"^(<?\d+ ms|[\d.]+ s)$"))


def test_cloud_events_are_shown_as_other_events_are(page: Page, server: Server) -> None:
    open_console(page, server, "/cloud/")
    sent = event("cloudy", event_id="e-1", entity_id="x", source="web", data={"a": [1]})
    server.post([{**sent, "meta": {"traceparent": "t-1"}}])
    for name, text in (
        ("type", "cloudy"),
        ("entity", "x"),
        ("source", "web"),
        ("data", '{"a":[1]}'),
    ):
        expect(cell(page, name)).to_have_text(text)
    cell(page, "type").click()
    for text in ("Event ide-1", "traceparentt-1", "a: ["):
        expect(page.locator("#detail")).to_contain_text(text)


def test_what_the_reader_looks_at_stays_while_events_come(page: Page, server: Server) -> None:
    open_console(page, server)
    server.post([event("old", data={"n": n}) for n in range(100)])
    page.locator("#grid").focus()
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    active = page.locator("tr.active")
    expect(active.locator("td.data")).to_have_text('{"n":70}')
    before = active.bounding_box()
    server.post([event("new")] * 5)
    expect(page.locator("#newer")).to_have_text("↑ 5 newer")
    assert active.bounding_box() == before
    page.locator("#newer").click()
    expect(cell(page, "type")).to_have_text("new")
    expect(page.locator("#newer")).to_be_hidden()


def test_everything_is_done_with_the_keyboard(page: Page, server: Server) -> None:
    open_console(page, server)
    server.post([event("first", data={"n": 1}), event("second", data={"n": 2})])
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("#code-open").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#grid")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.locator("tr.active")
    expect(active).to_contain_text("first")
    grid = page.locator("#grid")
    expect(grid).to_have_attribute("aria-activedescendant", active.get_attribute("id") or "")
    page.keyboard.press("Enter")
    expect(page.locator("#detail-name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(grid).to_be_focused()
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.locator("#spoken")).to_have_text("Paused")


# Copying and publishing.


def clipboard(page: Page) -> str:
    return str(page.evaluate("() => navigator.clipboard.readText()"))


def test_code_is_copied_that_reads_the_stream(page: Page, server: Server) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_console(page, server, "/events_stream/?event_type=user.*")
    page.get_by_role("button", name="Use in code").click()
    expect(page.locator("#code section")).to_have_count(3)
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#toast")).to_have_text("Copied curl")
    url = server.url("/events_stream/?event_type=user.*")
    assert clipboard(page) == f"curl -N '{url}'"
    page.get_by_role("button", name="Copy JavaScript").click()
    expect(page.locator("#toast")).to_have_text("Copied JavaScript")
    assert f'import {{ connect }} from "{server.url("/sse-sink.js")}"' in clipboard(page)
    page.get_by_role("button", name="Copy Python").click()
    expect(page.locator("#toast")).to_have_text("Copied Python")
    compile(clipboard(page), "copied", "exec")
    page.keyboard.press("Escape")
    expect(page.locator("#code")).to_be_hidden()


def test_code_is_copied_without_the_browsers_clipboard(page: Page, server: Server) -> None:
    """Browsers have it over HTTPS and on this machine only."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    open_console(page, server)
    page.get_by_role("button", name="Use in code").click()
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#toast")).to_have_text("Copied curl")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").press("Control+V")
    expect(page.get_by_role("searchbox")).to_have_value(f"curl -N '{server.url()}'")


def test_code_for_a_closed_sink_has_a_variable_in_place_of_the_token(
    page: Page, server: Server
) -> None:
    page.goto(server.url("/inbox/"))
    give_token(page, READER)
    expect(page.locator("#state-word")).to_have_text("Live")
    page.get_by_role("button", name="Use in code").click()
    curl, javascript, python = page.locator("#code pre").all_inner_texts()
    assert "$SSE_SINK_TOKEN" in curl
    assert server.url("/tickets") in javascript
    assert 'os.environ["SSE_SINK_TOKEN"]' in python
    compile(python, "copied", "exec")
    assert READER not in curl + javascript + python


def test_an_event_is_published_with_a_token_that_only_the_page_has(
    page: Page, server: Server
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_console(page, server)
    page.get_by_role("button", name="Publish an event").click()
    dialog = page.get_by_role("dialog")
    result = page.locator("#publish-result")
    send = dialog.get_by_role("button", name="Publish", exact=True)
    field(dialog, "Data").fill("{")
    send.click()
    expect(result).to_contain_text("The data isn't JSON")
    field(dialog, "Data").fill('{"price": 1.50}')
    send.click()
    expect(result).to_contain_text("401")
    field(dialog, "Token").fill(TOKEN)
    field(dialog, "Type").fill("..")
    send.click()
    expect(result).to_contain_text("422 Not a valid event: event_type")
    field(dialog, "Type").fill("published.here")
    field(dialog, "Event id").fill("once")
    field(dialog, "Entity").fill("e-1")
    send.click()
    expect(result).to_contain_text("Stored and streamed, with the id")
    send.click()
    expect(result).to_contain_text("Stored before")
    dialog.get_by_role("button", name="Python").click()
    expect(page.locator("#toast")).to_have_text("Copied Python")
    copied = clipboard(page)
    compile(copied, "copied", "exec")
    assert TOKEN not in copied
    dialog.get_by_role("button", name="Close").click()
    expect(rows(page)).to_have_count(1)
    cell(page, "type").click()
    page.get_by_role("button", name="Copy data").click()
    expect(page.locator("#toast")).to_have_text("Copied the data as JSON")
    assert clipboard(page) == '{"price":1.50}'
    page.get_by_role("button", name="Publish a copy").click()
    expect(field(dialog, "Entity")).to_have_value("e-1")
    expect(field(dialog, "Event id")).to_have_value("")
    expect(field(dialog, "Data")).to_have_value('{"price": 1.50}')
    page.reload()
    assert TOKEN not in kept_by(page)


# Harm, load, and those who see or have little.

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;</body>"
HOSTILE = [
    MARKUP,
    "'\"`${alert(3)}",
    "\u202egpj.exe\u202c \u0000\u0007\u2028 line\nbreak",
    "__proto__",
    "{{ 7 * 7 }}",
    "x" * 20_000,
    "\U0001f9ea" * 100,
]


def test_what_an_event_holds_is_text_and_never_markup(page: Page, server: Server) -> None:
    open_console(page, server)
    server.post(
        [
            event(
                f"hostile.{number}",
                # Control characters are refused there.
                entity_id=re.sub(r"[\0-\x1f\u2028]", "", text)[:200],
                source=re.sub(r"[\0-\x1f\u2028]", "", text)[:200],
                data={text: [text, {text: text}], "__proto__": {"polluted": text}},
                meta={text: text},
            )
            for number, text in enumerate(HOSTILE)
        ]
        + [event("deep", data=json.loads("[" * 200 + "]" * 200)), event("bare", data="</td>")]
    )
    expect(rows(page)).to_have_count(len(HOSTILE) + 2)
    elements = page.locator("img, iframe, object, embed, script:not([src])")
    for number in range(len(HOSTILE) + 2):
        rows(page).nth(number).click()
        expect(page.locator("#detail")).to_be_visible()
        expect(elements).to_have_count(0)
        page.locator("#detail").get_by_role("button", name="Close").click()
    cell(page, "type", len(HOSTILE) + 1).click()
    expect(page.locator("#detail")).to_contain_text(MARKUP)
    assert page.evaluate("() => ({}).polluted") is None
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280


FRAMES = """
(seconds) => new Promise((done) => {
  const times = [];
  const end = performance.now() + seconds * 1000;
  const tick = (now) => {
    times.push(now);
    if (now < end) return requestAnimationFrame(tick);
    const gaps = times.slice(1).map((time, index) => time - times[index]);
    done({ fps: 1000 * gaps.length / (times.at(-1) - times[0]), longest: Math.max(...gaps) });
  };
  requestAnimationFrame(tick);
})
"""


def test_a_flood_of_200_events_a_second_stays_fluid(
    page: Page, server: Server, measured: Measured
) -> None:
    stop = threading.Event()
    sent: list[int] = []

    def flood() -> None:
        begin = time.monotonic()
        with server.connection() as producer:
            while not stop.wait(max(0.0, begin + len(sent) / 200 - time.monotonic())):
                n = len(sent)
                one = event(f"load.{n % 9}", data={"n": n, "text": "x" * 100, "list": [1, 2]})
                sent.extend(producer.post([one]))

    open_console(page, server)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        expect(page.locator("#newer")).to_be_hidden()
        found = page.evaluate(FRAMES, 3)
    finally:
        stop.set()
        thread.join()
    expect(cell(page, "id")).to_have_text(str(sent[-1]))
    measured("console under 200 events/s", f"{found['fps']:.0f} frames/s")
    assert found["fps"] > 5


def show_states(page: Page, server: Server) -> Iterator[str]:
    """Bring the page into each of its states, and yield the state's name."""
    open_console(page, server)
    server.post([event("user.login", data={"list": [1, {"a": None}], "text": "x"})] * 3)
    server.post([event("shown")])
    expect(rows(page)).not_to_have_count(0)
    yield "events"
    page.get_by_role("searchbox").fill("x")
    expect(page.locator("#found")).to_have_text("3 events found")
    cell(page, "type").click()
    expect(page.locator("#detail")).to_be_visible()
    yield "one event"
    page.locator("#detail").get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Use in code").click()
    yield "code"
    page.keyboard.press("Escape")
    page.locator("#publish-open").click()
    field(page.get_by_role("dialog"), "Data").fill("{")
    page.get_by_role("dialog").get_by_role("button", name="Publish", exact=True).click()
    yield "publishing"
    page.keyboard.press("Escape")
    page.goto(server.url("/inbox/"))
    give_token(page, STRANGER)
    expect(page.locator("#token-why")).to_contain_text("403")
    yield "a closed sink"
    page.goto(server.url("/warehouse/extract"))
    page.goto(server.url("/"))
    page.get_by_role("link", name="warehouse").click()
    yield "a pulled sink"


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 360)], ids=["light", "dark and narrow"]
)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    driven: Browser, server: Server, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    with console_page(driven, viewport=size, color_scheme=scheme) as page:
        for state in show_states(page, server):
            assert violations(page) == [], state
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width, state
