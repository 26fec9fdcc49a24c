"""``flask sse demo``."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec
from flask.cli import with_appcontext

from ..submission import new_event
from .options import current_runtime, log_of


@click.command()
@click.option(
    "--rate",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.01, 1000),
    help="Events a second.",
)
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many events.")
@with_appcontext
def demo(rate: float, count: int | None) -> None:
    """Publish sample events until stopped with Ctrl-C."""
    runtime = current_runtime()
    log_of(runtime)
    click.echo("Publishing; stop with Ctrl-C.", err=True)
    try:
        for event_type, entity_id, data in itertools.islice(_samples(), count):
            event = new_event(event_type, data, entity_id=entity_id, source="demo")
            id = runtime.publish([event]).ids[0]
            click.echo(f"{id:>8}  {event_type:<20}  {msgspec.json.encode(data).decode()}")
            time.sleep(random.expovariate(rate))
    except KeyboardInterrupt:
        click.echo("")
    finally:
        runtime.close()


def _samples() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield event type, entity id and data of what could happen in a small shop."""
    temperature = 20.0
    for number in itertools.count(1):
        user = f"user_{random.randint(1, 40)}"
        temperature += random.uniform(-0.3, 0.3)
        address = f"203.0.113.{random.randint(1, 254)}"
        samples: list[tuple[str, str, dict[str, Any]]] = [
            ("user.login", user, {"ip": address}),
            ("user.logout", user, {"minutes": random.randint(1, 90)}),
            ("mail.received", user, {"subject": "Re: your order", "bytes": 2048 + number}),
            (
                "payment.settled",
                f"order_{1000 + number}",
                {"amount": round(random.uniform(3, 250), 2), "currency": "EUR"},
            ),
            ("sensor.temperature", "sensor_7", {"celsius": round(temperature, 1)}),
        ]
        yield random.choice(samples)
