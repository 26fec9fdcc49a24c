"""The ready server's app: the extension, health, metrics, front page and browser module."""

from __future__ import annotations

import os

from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from ..extension import SSESink, runtime_of
from ..web import console, description, front_page, health, metrics, request_id
from ..web.browser_module import browser_module
from ..web.problem import problem
from .console import add_pages, open_sinks


def create_app(config: str | os.PathLike[str] | None = None) -> Flask:
    """Return the app for a configuration file, by default the one that the environment names.

    :raises ConfigError: the configuration holds mistakes.
    :raises LogUnusable: the database is damaged, or isn't a log of this package.
    """
    app = Flask("flask_sse_sink", static_folder=None)
    request_id.install(app)
    sse = SSESink()

    # These come first: the extension refuses a sink whose route the app has already.
    app.register_blueprint(
        health.blueprint(lambda: runtime_of(app).log, lambda: runtime_of(app).failure())
    )
    app.register_blueprint(metrics.blueprint(lambda: runtime_of(app).report()))
    app.register_blueprint(browser_module())
    app.register_blueprint(
        console.blueprint(
            lambda: runtime_of(app).settings.server.console,
            lambda: open_sinks(runtime_of(app)),
            lambda: runtime_of(app).report(),
        )
    )
    app.register_blueprint(description.blueprint(lambda: runtime_of(app).settings))
    sse.init_app(app, config)
    settings = runtime_of(app).settings
    page = add_pages(app, runtime_of(app)) if settings.server.console else None
    app.register_blueprint(front_page.blueprint(settings, page))
    if proxies := settings.server.proxies:
        fixed = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)
        app.wsgi_app = fixed  # type: ignore[method-assign] # Flask's own way to add middleware

    @app.errorhandler(HTTPException)
    def as_problem(error: HTTPException) -> Response:
        code = error.code or 500
        response = problem(code, error.name, error.description or error.name)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
        return response

    return app
