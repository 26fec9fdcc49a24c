"""flask-sse, as its quickstart sets it up."""

from __future__ import annotations

import os

from flask import Flask, request
from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")


@app.post("/publish")
def publish() -> tuple[str, int]:
    sse.publish(request.get_json(), type="message")
    return "", 204
