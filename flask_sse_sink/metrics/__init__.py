"""Prometheus metrics, added up over the workers of a server.

Every process counts in files of its own in one folder, and whichever worker is asked adds them
up. Without such a folder, a process reports only its own counts.
"""

from .counters import Metrics, SinkMetrics, access_refused, connection_ended, get
from .exposition import expose, of_sinks
from .failsafe import FOLDER_VARIABLE
from .multiprocess import check_folder, discard, fold, prepare
from .pulled import PulledMetrics, pulled
from .server import ServerMetrics, server

__all__ = [
    "FOLDER_VARIABLE",
    "Metrics",
    "PulledMetrics",
    "ServerMetrics",
    "SinkMetrics",
    "access_refused",
    "check_folder",
    "connection_ended",
    "discard",
    "expose",
    "fold",
    "get",
    "of_sinks",
    "prepare",
    "pulled",
    "server",
]
