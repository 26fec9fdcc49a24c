"""A dashboard: machines report their load, and the page draws the last minutes of each.

Run it with `flask --app examples/dashboard.py run`, and open http://127.0.0.1:5000/. The button
lets three machines report that don't exist; a real one posts its load to /ingest.
"""

import math
import os
import random
import threading
import time

from flask import Flask

from flask_sse_sink import SSESink, browser_module

app = Flask(__name__)
sse = SSESink(
    app,
    config={
        "database": {"url": os.environ.get("DATABASE_URL", "sqlite:///dashboard.db")},
        "ingest": {"auth": "none"},  # whoever reaches the port may publish: see docs/access.md
        "sink": {"machines": {"type": "sse", "match": "machine.*", "replay": "5m"}},
    },
)
app.register_blueprint(browser_module())  # serves /sse-sink.js


def report(machine, seconds):
    """Publish a load once a second, as a real machine's collector would."""
    for second in range(seconds):
        load = 1 + math.sin(second / 5) + random.random()
        sse.publish("machine.load", {"load": round(load, 2)}, entity_id=machine)
        time.sleep(1)


@app.post("/pretend")
def pretend():
    for machine in ("web-1", "web-2", "db-1"):
        threading.Thread(target=report, args=(machine, 60), daemon=True).start()
    return "", 202


@app.get("/")
def page():
    return """<!doctype html><html lang="en"><meta charset="utf-8"><title>Machines</title>
<style>
  body { font: 16px system-ui; margin: 2rem; }
  svg { width: 20rem; height: 3rem; } polyline { fill: none; stroke: #36c; stroke-width: 2; }
  td { padding: .3rem 1rem .3rem 0; }
</style>
<h1>Machines</h1>
<p><button id="pretend">Let three machines report</button>
  <span id="state" role="status"></span></p>
<table><tbody id="machines"></tbody></table>
<script type="module">
  import { connect } from "/sse-sink.js";

  const machines = new Map();

  function added(name) {
    const row = document.getElementById("machines").insertRow();
    row.insertCell().textContent = name;
    const value = row.insertCell();
    row.insertCell().innerHTML = '<svg viewBox="0 0 120 30"><polyline></polyline></svg>';
    return { value, line: row.querySelector("polyline"), loads: [] };
  }

  function show({ entity_id: name, data }) {
    if (!machines.has(name)) machines.set(name, added(name));
    const machine = machines.get(name);
    machine.loads = [...machine.loads, Number(data.load)].slice(-60);
    machine.value.textContent = data.load;
    const points = machine.loads.map((load, index) => `${index * 2},${30 - load * 9}`);
    machine.line.setAttribute("points", points.join(" "));
  }

  // A page that opens late draws the last five minutes at once.
  connect("/machines/", {
    lastEventId: "earliest",
    onMessage: show,
    onState: (state) => { document.getElementById("state").textContent = state; },
  });
  document.getElementById("pretend").onclick = () => fetch("/pretend", { method: "POST" });
</script>"""
