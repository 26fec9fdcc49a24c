"""Notifications for the users of Flask-Login: each reads what is for them, and nothing else.

Run it with `flask --app examples/login_app.py run`, and open http://127.0.0.1:5000/.
"""

import os
import secrets

from flask import Flask, redirect, request
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)

from flask_sse_sink import Grants, SSESink

app = Flask(__name__)
# Set it for more than one process, and for logins that outlive a restart.
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
users = LoginManager(app)
sse = SSESink(
    app,
    config={
        "database": {"url": os.environ.get("DATABASE_URL", "sqlite:///events.db")},
        "sink": {"inbox": {"type": "sse", "access": "token"}},
    },
)


@sse.authorizer(subject=lambda: current_user.get_id())
def may_read(sink):
    if not current_user.is_authenticated:
        return None
    return Grants.of(subscribe=[{"sink": "inbox", "entity_id": current_user.get_id()}])


def notify(user_id, text):
    sse.publish("notification", {"text": text}, entity_id=user_id)


@users.user_loader
def load(user_id):
    user = UserMixin()
    user.id = user_id
    return user


@app.post("/login")
def login():
    # An app of yours checks a password here.
    login_user(load(request.form["user"]))
    return redirect("/")


@app.post("/logout")
@login_required
def logout():
    sse.revoke(current_user.get_id())  # ends the streams that are open
    logout_user()
    return redirect("/")


@app.post("/notify/<user_id>")
@login_required
def tell(user_id):
    notify(user_id, f"{current_user.get_id()} says {request.form['text']}")
    return "", 204


@app.get("/")
def page():
    return """<!doctype html><ul id="list"></ul><script>
      new EventSource("/inbox/").addEventListener("message", (event) => {
        const item = document.createElement("li");
        item.textContent = JSON.parse(event.data).data.text;
        document.getElementById("list").append(item);
      });
    </script>"""
