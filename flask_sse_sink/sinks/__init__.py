"""The types of sinks. Each module registers its type when it is imported, which is done here.

Messages list the types in this order.
"""

from . import sse

# isort: split
from . import http_pull

__all__ = ["http_pull", "sse"]
