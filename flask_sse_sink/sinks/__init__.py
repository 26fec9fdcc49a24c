"""The types of sinks. Each module registers its type when it is imported, which is done here."""

from . import sse

__all__ = ["sse"]
