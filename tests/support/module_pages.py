"""Pages that read a stream with the module for browsers, and note what it tells them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from support.browser import BrowserContext, Page
from support.server import Server
from support.waiting import wait_until

_SCRIPT = """
async ([module, url, options, sink]) => {
  const { connect } = await import(module);
  window.got = { ids: [], states: [], missed: [], words: [], details: [], tickets: 0 };
  const given = { ...options };
  if (sink)
    given.ticket = async () => {
      window.got.tickets++;
      const headers = {
        Authorization: `Bearer ${await getToken()}`,
        "Content-Type": "application/json",
      };
      return fetch(new URL("/tickets", module), {
        method: "POST",
        headers,
        body: JSON.stringify({ sink }),
      });
    };
  window.stream = connect(url, {
    ...given,
    onMessage: (event) => window.got.ids.push(event.id),
    onMissed: (missed) => window.got.missed.push(missed),
    onState: (state, detail) => {
      window.got.states.push(state);
      window.got.details.push(detail);
    },
    onFrame: ({ type, data }) => {
      if (type === "info") window.got.words.push(data.split(" ")[0]);
    },
  });
}
"""


class ModulePage:
    """A tab whose page reads a stream with the module."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    def open(
        cls,
        profile: BrowserContext,
        server: Server,
        url: str = "",
        *,
        at: str = "",
        sink: str = "",
        token: Callable[[], str] | None = None,
        **options: Any,
    ) -> ModulePage:
        """Open a tab and read from there.

        ``at`` is the URL of the page, by default one of the server. ``url`` is that of the stream,
        by default the server's. With the name of a ``sink``, the page buys tickets for it, each
        with what ``token`` returns then.
        """
        page = profile.new_page()
        if token is not None:
            page.expose_function("getToken", token)
        page.goto(at or server.url("/healthz"))
        opened = cls(page)
        module = server.url("/sse-sink.js")
        page.evaluate(_SCRIPT, [module, url or server.url(), options, sink])
        return opened

    def got(self, what: str) -> Any:
        """Return what the page noted: ``ids``, ``states``, ``missed``, ``words``, ``details``."""
        return json.loads(self.page.evaluate(f"JSON.stringify(window.got.{what})"))

    @property
    def state(self) -> str:
        return str(self.page.evaluate("window.stream.state"))

    @property
    def last_event_id(self) -> str:
        return str(self.page.evaluate("window.stream.lastEventId"))

    def wait_for_state(self, state: str) -> None:
        """Return once the stream is in this state."""
        wait_until(lambda: self.state == state, f"{state}, now {self.got('states')}")

    def wait_until_told(self, state: str, times: int = 1) -> None:
        """Return once the page was told of this state so often; it may be over soon."""
        wait_until(lambda: self.got("states").count(state) >= times, f"{times} times {state}")

    def wait_for_detail(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Return once the page was told of a state with details like these."""
        wait_until(
            lambda: any(condition(each) for each in self.got("details")),
            f"told so, not only {self.got('details')}",
        )

    def wait_for_events(self, count: int) -> None:
        """Return once the page has so many events."""
        wait_until(lambda: len(self.got("ids")) >= count, f"{count} events")

    def wait_for_ids(self, ids: list[int]) -> None:
        """Return once the page has just these events, in this order."""
        self.wait_for_events(len(ids))
        assert self.got("ids") == ids

    def close(self) -> None:
        """Close the tab, as a user does."""
        self.page.close()
