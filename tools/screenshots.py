"""Makes the pictures of the console in docs/images: `make screenshots`.

Each shows a server of its own, with events as a shop might have them.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from support.browser import Page, chromium_browser
from support.console import console_page
from support.server import Server

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SECONDS = 45
MOST_BYTES = 150_000
TOKEN = "a-token-of-the-pictures"
SETTINGS = {
    "server": {"workers": 1},
    "access": {"secret": "a-secret-of-the-pictures-with-32-bytes-or-more"},
    "ingest": {"tokens": [TOKEN]},
    "sink": {
        "events_stream": {"type": "sse", "replay": True},
        "logins": {"type": "sse", "match": "user.*", "path": "/live"},
        "inbox": {"type": "sse", "access": "token"},
        "warehouse": {"type": "http_pull", "access": "none", "match": "order.*"},
    },
}
CITIES = ("Lisbon", "Oslo", "Graz", "Nantes")


def event(random: random.Random) -> dict[str, Any]:
    """Return one of the shop's events."""
    user, order = f"user-{random.randrange(40, 60)}", f"order-{random.randrange(7000, 7200)}"
    address = f"10.0.{random.randrange(9)}.{random.randrange(250)}"
    item = {"sku": f"A-{random.randrange(100, 200)}", "count": random.randrange(1, 4)}
    login = {
        "ip": address,
        "city": random.choice(CITIES),
        "agent": {"name": "Firefox", "mobile": False},
    }
    paid = {"total": random.randrange(900, 20_000) / 100, "currency": "EUR", "items": [item]}
    celsius = {"celsius": random.randrange(190, 230) / 10, "hall": random.randrange(1, 5)}
    shown: list[dict[str, Any]] = [
        {"event_type": "user.login", "entity_id": user, "source": "web", "data": login},
        {"event_type": "order.created", "entity_id": order, "source": "shop", "data": paid},
        {
            "event_type": "order.shipped",
            "entity_id": order,
            "source": "shop",
            "data": {"items": [item]},
        },
        {"event_type": "sensor.temperature", "source": "plant", "data": celsius},
    ]
    return random.choice(shown)


def publish_for(server: Server, seconds: float) -> None:
    """Publish at a rate that rises and falls."""
    chosen = random.Random(7)
    begin = time.monotonic()
    with server.connection() as producer:
        while (passed := time.monotonic() - begin) < seconds:
            producer.post([event(chosen)])
            time.sleep(1 / (14 + 10 * math.sin(passed / 4)))


def shown(page: Page, server: Server, seconds: float) -> None:
    """Open the console, and have events come."""
    page.goto(server.url("/events_stream/"))
    page.locator("#state[data-state=live]").wait_for()
    publish_for(server, seconds)
    page.wait_for_timeout(1500)


def save(page: Page, name: str) -> None:
    """Save what the page shows, with few colours, so that the picture is small."""
    path = FOLDER / f"console-{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path} has {size} bytes"
    print(f"{path.name}: {size} bytes")


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), SETTINGS) as server:
        with chromium_browser() as running:
            with console_page(running, color_scheme="light") as page:
                shown(page, server, SECONDS)
                save(page, "light")
            with console_page(running, color_scheme="dark") as page:
                shown(page, server, SECONDS)
                page.locator("#rows td.type", has_text="order.created").first.click()
                save(page, "dark")
            narrow = {"width": 360, "height": 740}
            with console_page(running, viewport=narrow, color_scheme="light") as page:
                shown(page, server, SECONDS / 3)
                save(page, "narrow")


if __name__ == "__main__":
    main()
