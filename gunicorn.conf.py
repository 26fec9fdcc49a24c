"""Makes ``gunicorn wsgi:app`` read config.yaml; flags on gunicorn's command line win."""

from flask_sse_sink.gunicorn import configure

globals().update(configure())
