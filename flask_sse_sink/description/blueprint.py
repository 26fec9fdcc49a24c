"""Blueprints whose endpoints are described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from flask import Blueprint, Flask

from ..config.settings import Settings
from .operations import Operation

#: Returns the descriptions of a blueprint's endpoints for these settings.
Describe: TypeAlias = Callable[[Settings], Sequence[Operation]]


class DescribedBlueprint(Blueprint):
    """A blueprint with the descriptions of its endpoints; the other arguments are Flask's.

    ``describe`` is called when somebody asks for a document of the app.
    """

    def __init__(self, name: str, import_name: str, describe: Describe, **options: Any) -> None:
        super().__init__(name, import_name, **options)
        self.describe = describe


def operations(app: Flask, settings: Settings) -> list[Operation]:
    """Return the descriptions of all described endpoints of the app, in the order of its routes.

    The app's own endpoints aren't among them.
    """
    return [
        operation
        for blueprint in app.blueprints.values()
        if isinstance(blueprint, DescribedBlueprint)
        for operation in blueprint.describe(settings)
    ]
