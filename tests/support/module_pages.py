"""Pages that read a stream with the module for browsers, and note what it tells them."""

from __future__ import annotations

import json
from typing import Any

from support.browser import BrowserContext, Page
from support.server import Server
from support.waiting import wait_until

_SCRIPT = """
async ([module, url, options, ticket]) => {
  const { connect } = await import(module);
  window.got = { ids: [], states: [], missed: [], words: [], details: [], tickets: 0 };
  const given = { ...options };
  if (ticket)
    given.ticket = async () => {
      window.got.tickets++;
      return fetch(ticket, { method: "POST" });
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
        ticket: str = "",
        **options: Any,
    ) -> ModulePage:
        """Open a tab and read from there.

        ``at`` is the URL of the page, by default one of the server. ``url`` is that of the stream,
        by default the server's. ``ticket`` is a URL that answers a POST with a ticket.
        """
        page = profile.new_page()
        page.goto(at or server.url("/healthz"))
        opened = cls(page)
        module = server.url("/sse-sink.js")
        page.evaluate(_SCRIPT, [module, url or server.url(), options, ticket])
        return opened

    def got(self, what: str) -> list[Any]:
        """Return what the page noted: ``ids``, ``states``, ``missed``, ``words``, ``details``."""
        return json.loads(self.page.evaluate(f"JSON.stringify(window.got.{what})"))  # type: ignore[no-any-return]

    @property
    def state(self) -> str:
        return str(self.page.evaluate("window.stream.state"))

    def wait_for_state(self, state: str) -> None:
        """Return once the stream is in this state."""
        wait_until(lambda: self.state == state, f"{state}, now {self.got('states')}")

    def wait_for_ids(self, ids: list[int]) -> None:
        """Return once the page has just these events, in this order."""
        wait_until(lambda: len(self.got("ids")) >= len(ids), f"all of {len(ids)} events")
        assert self.got("ids") == ids

    def close(self) -> None:
        """Close the tab, as a user does."""
        self.page.close()
