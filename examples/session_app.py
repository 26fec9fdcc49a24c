"""Notifications for users whom a session cookie knows; the page gets a URL with a ticket.

The URL works where the cookie isn't sent, too: in a stream from another host, or in a program.
Run it with `flask --app examples/session_app.py run`, and open http://127.0.0.1:5000/.
"""

import os
import secrets

from flask import Flask, redirect, render_template_string, request, session

from flask_sse_sink import SSESink

app = Flask(__name__)
# Set it for more than one process, and for logins that outlive a restart.
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
sse = SSESink(
    app,
    config={
        "access": {"secret": os.environ.get("ACCESS_SECRET") or secrets.token_urlsafe(32)},
        "database": {"url": os.environ.get("DATABASE_URL", "sqlite:///events.db")},
        "sink": {"inbox": {"type": "sse", "access": "token"}},
    },
)

PAGE = """<!doctype html><ul id="list"></ul><script>
  async function listen() {
    const { url } = await (await fetch("/stream", { cache: "no-store" })).json();
    const stream = new EventSource(url);
    stream.addEventListener("message", (event) => {
      const item = document.createElement("li");
      item.textContent = JSON.parse(event.data).data.text;
      document.getElementById("list").append(item);
    });
    // A ticket opens streams for a minute: after that, a new one is needed.
    stream.onerror = () => { stream.close(); setTimeout(listen, 3000); };
  }
  listen();
</script>"""


@app.get("/stream")
def stream():
    if "user" not in session:
        return {"error": "log in first"}, 401
    user = session["user"]
    return {"url": sse.ticket("inbox", entity_id=user, subject=user)}


@app.post("/login")
def login():
    # An app of yours checks a password here.
    session["user"] = request.form["user"]
    return redirect("/")


@app.post("/logout")
def logout():
    if user := session.pop("user", None):
        sse.revoke(user)  # ends the streams that are open
    return redirect("/")


@app.post("/notify/<user>")
def notify(user):
    sse.publish("notification", {"text": request.form["text"]}, entity_id=user)
    return "", 204


@app.get("/")
def page():
    return render_template_string(PAGE)
