"""Settings of servers and apps, as mappings that are shaped like config.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]


def merged(defaults: Settings, changes: Settings) -> dict[str, Any]:
    """Return the defaults with these changes; of mappings in both, each setting is merged."""
    settings = {**defaults, **changes}
    for name in defaults.keys() & changes.keys():
        if isinstance(defaults[name], Mapping) and isinstance(changes[name], Mapping):
            settings[name] = merged(defaults[name], changes[name])
    return settings


def with_ingest(settings: Settings) -> dict[str, Any]:
    """Return the settings, with an ingest that takes events from anybody unless they say who."""
    ingest = settings.get("ingest", {})
    if ingest.keys() & {"auth", "tokens"}:
        return dict(settings)
    return merged({"ingest": {"auth": "none"}}, settings)
