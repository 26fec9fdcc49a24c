"""The pytest plugin of flask-sse-sink: the fixture ``sse_events``.

pytest imports it at each start, so it stands outside of the package and imports that when needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flask_sse_sink.testing import SSEEvents


@pytest.fixture
def sse_events(request: pytest.FixtureRequest) -> Iterator[SSEEvents]:
    """Publish to the app of the fixture ``app``, and collect what its sinks stream."""
    from flask_sse_sink.testing import SSEEvents

    try:
        app = request.getfixturevalue("app")
    except pytest.FixtureLookupError:
        pytest.fail(
            "sse_events needs a fixture 'app' that returns your Flask app: "
            "write one into conftest.py",
            pytrace=False,
        )
    with SSEEvents(app) as events:
        yield events
