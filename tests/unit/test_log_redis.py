"""The log in Redis, where its library is missing."""

from __future__ import annotations

import sys

import pytest

from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.exceptions import ConfigError
from flask_sse_sink.log import open_log


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("flask_sse_sink.log.redis.")]:
        monkeypatch.delitem(sys.modules, name)
    # An import of what is None here fails.
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask-sse-sink\[redis\]'"):
        open_log(DatabaseSettings(url="redis://h/0"))
