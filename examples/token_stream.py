"""The tokens of a language model, piece by piece, for the browser that asked and for nobody else.

Run it with `flask --app examples/token_stream.py run`, and open http://127.0.0.1:5000/. A page
that is cut in the middle of an answer goes on where it was. Put your model's client into `tokens`.
"""

import os
import secrets
import threading
import time

from flask import Flask, abort, request, session

from flask_sse_sink import SSESink, browser_module

app = Flask(__name__)
# Set both for more than one process, and for logins that outlive a restart.
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
access_secret = os.environ.get("ACCESS_SECRET") or secrets.token_urlsafe(32)
sse = SSESink(
    app,
    config={
        "access": {"secret": access_secret},
        "database": {"url": os.environ.get("DATABASE_URL", "sqlite:///answers.db")},
        "sink": {"answers": {"type": "sse", "access": "token", "replay": "10m"}},
    },
)
app.register_blueprint(browser_module())  # serves /sse-sink.js


def tokens(prompt):
    """Yield an answer's tokens, as a model's client does."""
    for word in f"You asked: {prompt}. A model would know more than this.".split():
        time.sleep(0.05)
        yield f"{word} "


def answer(id, prompt):
    for token in tokens(prompt):
        sse.publish("answer.token", token, entity_id=id)
    sse.publish("answer.end", entity_id=id)


@app.post("/ask")
def ask():
    id = secrets.token_urlsafe(16)
    session["answer"] = id
    threading.Thread(target=answer, args=(id, request.form["prompt"])).start()
    return {"answer": id}, 202


@app.get("/ticket")
def ticket():
    # The ticket opens the stream of this browser's answer alone.
    if "answer" not in session:
        abort(404)
    return {"url": sse.ticket("answers", entity_id=session["answer"])}


@app.get("/")
def page():
    return """<!doctype html><html lang="en"><meta charset="utf-8"><title>Ask</title>
<style>body { font: 16px system-ui; margin: 2rem; } #answer { max-width: 40rem; }</style>
<h1>Ask</h1>
<form id="form"><input name="prompt" aria-label="prompt" required> <button>Ask</button></form>
<p id="answer" aria-live="polite"></p>
<script type="module">
  import { connect } from "/sse-sink.js";

  const form = document.getElementById("form");
  const shown = document.getElementById("answer");
  let stream;

  form.onsubmit = async (event) => {
    event.preventDefault();
    stream?.close();
    shown.textContent = "";
    await fetch("/ask", { method: "POST", body: new FormData(form) });
    stream = connect("/answers/", {
      ticket: () => fetch("/ticket", { cache: "no-store" }),
      lastEventId: "earliest",
      onMessage: ({ event_type: type, data }) => {
        if (type === "answer.token") shown.append(data);
        else stream.close(); // the end
      },
    });
  };
</script>"""
