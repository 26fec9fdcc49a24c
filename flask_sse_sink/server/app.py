"""The server: an app that is nothing but the extension, with health and a front page."""

from __future__ import annotations

import os

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from ..extension import SSESink, engine_of
from ..web import health, metrics, viewer
from ..web.problem import problem


def create_app(config: str | os.PathLike[str] | None = None) -> Flask:
    """Return the server's app for a configuration file, by default the one that is in force.

    :raises ConfigError: the configuration holds mistakes.
    :raises LogUnusable: what the database's file holds is damaged or not a log of ours.
    """
    app = Flask("flask_sse_sink", static_folder=None)
    sse = SSESink()

    # The extension looks for routes that its own would meet: these come first.
    app.register_blueprint(
        health.blueprint(lambda: engine_of(app).log, lambda: engine_of(app).failure())
    )
    app.register_blueprint(metrics.blueprint())
    sse.init_app(app, config)
    settings = engine_of(app).settings
    app.register_blueprint(viewer.blueprint(settings))
    if proxies := settings.server.proxies:
        fixed = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)
        app.wsgi_app = fixed  # type: ignore[method-assign] # Flask's own way to add middleware

    @app.errorhandler(HTTPException)
    def as_problem(error: HTTPException) -> Response:
        code = error.code or 500
        made = problem(code, error.name, error.description or error.name)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                made.headers[name] = value
        return made

    return app
