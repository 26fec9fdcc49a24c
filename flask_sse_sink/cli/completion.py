"""What the shell completes: the names of the sinks in the configuration file."""

from __future__ import annotations

import logging
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from ..config import loading
from ..config.settings import SinkSettings
from ..exceptions import ConfigError
from ..pull.settings import PullSettings
from ..stream.settings import SSESettings

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _names_of(kind: type[SinkSettings]) -> Completer:
    """Return a completer of the names of the sinks whose settings are of this kind."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # Whatever is written while the user presses Tab would stand in the middle of the line.
        disabled = logging.root.manager.disable
        logging.disable()
        try:
            file = loading.default_file()
            loading.load_variables(file.parent / ".env")
            sinks = loading.load(file).sink
        except ConfigError:
            return []
        finally:
            logging.disable(disabled)
        names = [name for name, settings in sinks.items() if isinstance(settings, kind)]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


streaming_sinks = _names_of(SSESettings)
pulled_sinks = _names_of(PullSettings)
