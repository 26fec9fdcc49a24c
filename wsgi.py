"""The server's WSGI app: ``gunicorn wsgi:app`` or ``flask --app wsgi run``."""

import sys

from flask_sse_sink import ConfigError, LogUnusable, create_app

try:
    app = create_app()
except (ConfigError, LogUnusable) as error:
    # What is wrong stands in the message; a traceback would only bury it. 3 is the status with
    # which a gunicorn worker says that the app can't be loaded, so that it isn't tried for ever.
    print(error, file=sys.stderr)
    raise SystemExit(3) from None
