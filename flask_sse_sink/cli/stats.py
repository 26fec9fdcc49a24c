"""``flask sse stats``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from ..log import EventLog, LogStatus
from .options import load_runtime, log_of, own_url
from .server_options import needs, token_option
from .texts import http_url, without_query

_MS = 1000


@click.command()
@click.argument("url", required=False, callback=http_url)
@token_option
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Measure rates for so long.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def stats(ctx: click.Context, url: str | None, token: str, seconds: float, as_json: bool) -> None:
    """Show what a server does, and what its log holds: clients, rates, lag, age and size.

    Without URL it is the configured server; where that doesn't run, only its log is shown.
    """
    with needs("cli"):
        from .remote import RemoteServer, Unreachable
    runtime = None if url is not None else load_runtime(ctx)
    base = url or (own_url(runtime.settings) if runtime is not None else "")
    with RemoteServer(token) as server:
        address = base.rstrip("/") + "/metrics"
        try:
            before, began = server.get(address), time.monotonic()
            time.sleep(seconds)
            after, took = server.get(address), time.monotonic() - began
        except Unreachable as error:
            if runtime is None:
                raise
            click.echo(f"# no server: {error.message}", err=True)
            found = {"log": _of_log(log_of(runtime))}
        else:
            found = _of_server(Samples(address, before), Samples(address, after), took)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for name, text in _lines(found):
        click.echo(f"{name:<9} {text}")


class Samples:
    """The samples in a page of metrics."""

    def __init__(self, address: str, page: bytes) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self._samples: list[Any] = []
        try:
            for family in text_string_to_metric_families(page.decode()):
                self._samples += family.samples
        except (ValueError, KeyError, IndexError, AttributeError):
            self._samples = []
        if not any(each.name.startswith("sse_sink_") for each in self._samples):
            raise click.ClickException(
                f"{without_query(address)} has no metrics of flask-sse-sink; name the address of "
                "a server, e.g. http://127.0.0.1:8000"
            )

    def by(self, name: str, label: str = "sink") -> dict[str, float]:
        """Return a metric's values by a label, added up over all other labels."""
        values: dict[str, float] = {}
        for each in self._samples:
            if each.name == name:
                key = each.labels.get(label, "")
                values[key] = values.get(key, 0.0) + each.value
        return values

    def total(self, name: str) -> float:
        """Return the sum of all values of a metric."""
        return sum(self.by(name).values())


def _of_server(before: Samples, after: Samples, seconds: float) -> dict[str, Any]:
    def rate(name: str) -> float:
        return round(max(0.0, after.total(name) - before.total(name)) / seconds, 1)

    def whole(name: str) -> int:
        return int(after.total(name))

    log = LogStatus(
        whole("sse_sink_log_head_id"),
        whole("sse_sink_log_events"),
        whole("sse_sink_log_bytes"),
        int(after.total("sse_sink_log_oldest_timestamp_seconds") * 1_000_000),
    )
    return {
        "clients": {
            "open": whole("sse_sink_clients"),
            "sinks": {name: int(n) for name, n in after.by("sse_sink_clients").items()},
            "refused": whole("sse_sink_clients_refused_total"),
        },
        "events": {
            "stored": whole("sse_sink_events_stored_total"),
            "stored_per_second": rate("sse_sink_events_stored_total"),
            "duplicates": whole("sse_sink_events_duplicate_total"),
            "sent": whole("sse_sink_deliveries_total"),
            "sent_per_second": rate("sse_sink_deliveries_total"),
        },
        "lag": {
            "waiting_frames": whole("sse_sink_queue_frames"),
            "waiting_bytes": whole("sse_sink_queue_bytes"),
            "missed": whole("sse_sink_missed_total"),
            "half_within_ms": _quantile(after, 0.5),
            "99_percent_within_ms": _quantile(after, 0.99),
        },
        "pulled": {
            name: {
                "unconfirmed": int(lag),
                "leased": int(after.by("sse_sink_pull_out").get(name, 0)),
                "dead": int(after.by("sse_sink_pull_dead").get(name, 0)),
            }
            for name, lag in after.by("sse_sink_pull_lag").items()
        },
        "log": _log_numbers(log),
    }


def _quantile(samples: Samples, part: float) -> float | None:
    """Return within how many milliseconds this part of all deliveries was written."""
    buckets = samples.by("sse_sink_delivery_seconds_bucket", "le")
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    total = bounds[-1][1] if bounds else 0.0
    for bound, count in bounds:
        if total and count >= part * total:
            return bound * _MS if bound != float("inf") else None
    return None


def _of_log(log: EventLog) -> dict[str, Any]:
    try:
        return _log_numbers(log.status())
    finally:
        log.close()


def _log_numbers(status: LogStatus) -> dict[str, Any]:
    age = time.time() - status.oldest_us / 1_000_000 if status.events else 0.0
    return {
        "head": status.head,
        "events": status.events,
        "oldest_age_seconds": round(max(0.0, age), 1),
        "bytes": status.size_bytes,
    }


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "clients" in found:
        yield from _server_lines(found)
    log = found["log"]
    text = f"{log['events']:,} events, the newest has id {log['head']}; {_bytes(log['bytes'])}"
    yield "log", text
    if log["events"]:
        yield "oldest", f"stored {_age(log['oldest_age_seconds'])} ago"


def _server_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    clients, events, lag = found["clients"], found["events"], found["lag"]
    sinks = ", ".join(f"{name} {count}" for name, count in clients["sinks"].items() if count)
    refused = f"; {clients['refused']:,} refused" if clients["refused"] else ""
    yield "clients", f"{clients['open']:,}{f' ({sinks})' if sinks else ''}{refused}"
    yield "stored", f"{events['stored']:,} events, {events['stored_per_second']:,} a second"
    yield "sent", f"{events['sent']:,} frames, {events['sent_per_second']:,} a second"
    within = [
        f"{words} within {lag[key]:g} ms"
        for words, key in (("half", "half_within_ms"), ("99 %", "99_percent_within_ms"))
        if lag[key] is not None
    ]
    waiting = f"{lag['waiting_frames']:,} frames wait ({_bytes(lag['waiting_bytes'])})"
    yield "lag", ", ".join([*within, waiting, f"{lag['missed']:,} missed"])
    for name, pulled in found["pulled"].items():
        yield (
            "pulled",
            f"{name}: {pulled['unconfirmed']:,} not confirmed, {pulled['leased']:,} leased, "
            f"{pulled['dead']:,} dead",
        )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.1f} GiB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
