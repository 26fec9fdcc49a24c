"""What gunicorn calls as its master and its workers start, reload and end."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from .. import metrics
from ..config.settings import Settings
from . import addresses, reload, served_app
from .banner import banner, base_url


class Hooks:
    """gunicorn's hooks for one configuration; each method has the name of its hook.

    ``snapshot`` is called before a reload; it returns a function that undoes the reload.
    ``on_ready`` is called with the address of the server's page when the server listens.
    """

    def __init__(
        self,
        settings: Settings,
        snapshot: Callable[[], Callable[[], None]],
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._on_ready = on_ready

    def by_name(self) -> dict[str, Callable[..., None]]:
        """Return the hooks by the names of gunicorn's settings."""
        return {
            "on_starting": self.on_starting,
            "when_ready": self.when_ready,
            "on_reload": self.on_reload,
            "pre_fork": self.pre_fork,
            "post_worker_init": self.post_worker_init,
            "child_exit": self.child_exit,
            "on_exit": self.on_exit,
        }

    def on_starting(self, arbiter: Any) -> None:
        """End the master if its address is taken; let no failed reload end it later."""
        addresses.refuse_taken_addresses(arbiter, metrics.discard)
        reload.survive_failed_reloads(arbiter, self._snapshot)

    def when_ready(self, arbiter: Any) -> None:
        """Print where the server streams, and how to publish, beside gunicorn's messages.

        Where these are JSON, this is left out: programs read them.
        """
        base = base_url(self._settings, arbiter)
        if self._settings.server.log_format != "json":
            print(banner(self._settings, base), file=sys.stderr, flush=True)
        if self._on_ready is not None:
            self._on_ready(f"{base}/")

    def on_reload(self, arbiter: Any) -> None:
        """Warn that a preloaded app keeps most of its old configuration."""
        if arbiter.cfg.preload_app:
            arbiter.log.warning(
                "with --preload a reload takes over server.host, port and workers alone; restart "
                "the server for the rest"
            )

    def pre_fork(self, arbiter: Any, worker: Any) -> None:
        """Exempt the master's objects from collections, whose marks would copy their memory."""
        gc.freeze()

    def post_worker_init(self, worker: Any) -> None:
        """Start the relay with the worker, and end its streams when it is told to stop."""
        # The app's objects stay as long as the worker: no collection need look at them again.
        gc.freeze()
        served_app.start_streaming(worker)

    def child_exit(self, arbiter: Any, worker: Any) -> None:
        """Add the counts of a worker that ended to those of all that ended."""
        metrics.fold(worker.pid)

    def on_exit(self, arbiter: Any) -> None:
        """Remove the files of the metrics."""
        metrics.discard()
