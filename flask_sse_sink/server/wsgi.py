"""The WSGI app of the ready server, as ``app``: what gunicorn's workers load.

To import this module reads the configuration file; where that holds mistakes, the import ends the
process.
"""

from __future__ import annotations

import sys

from ..exceptions import ConfigError, LogUnusable
from .app import create_app

try:
    app = create_app()
except (ConfigError, LogUnusable) as error:
    # What is wrong stands in the message; a traceback would only bury it. 3 is the status with
    # which a gunicorn worker says that the app can't be loaded, so that it isn't tried for ever.
    print(error, file=sys.stderr)
    raise SystemExit(3) from None
