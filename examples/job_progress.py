"""The progress of a job: a thread works, and the page shows how far it is.

Run it with `flask --app examples/job_progress.py run`, and open http://127.0.0.1:5000/. Reload
the page while a job runs, or open it in another tab: it shows the job's progress again.
"""

import os
import threading
import time
import uuid

from flask import Flask

from flask_sse_sink import SSESink, browser_module

STEPS = 20

app = Flask(__name__)
sse = SSESink(
    app,
    config={
        "database": {"url": os.environ.get("DATABASE_URL", "sqlite:///jobs.db")},
        "sink": {"jobs": {"type": "sse", "match": "job.*", "replay": "1h"}},
    },
)
app.register_blueprint(browser_module())  # serves /sse-sink.js


def work(job):
    try:
        for step in range(1, STEPS + 1):
            time.sleep(float(os.environ.get("STEP_SECONDS", "0.5")))  # … a part of the work …
            sse.publish("job.progress", {"done": step, "of": STEPS}, entity_id=job)
    except Exception:
        sse.publish("job.failed", entity_id=job)
        raise
    sse.publish("job.finished", {"result": f"{STEPS} parts are done"}, entity_id=job)


@app.post("/jobs")
def start():
    job = uuid.uuid4().hex
    threading.Thread(target=work, args=(job,)).start()
    return {"job": job}, 202


@app.get("/")
def page():
    return """<!doctype html><html lang="en"><meta charset="utf-8"><title>Job</title>
<style>body { font: 16px system-ui; margin: 2rem; } progress { width: 20rem; }</style>
<h1>Job</h1>
<p><button id="start">Start a job</button></p>
<p><progress id="bar" max="1" value="0" aria-label="progress"></progress>
  <span id="text" role="status"></span></p>
<script type="module">
  import { connect } from "/sse-sink.js";

  let stream;

  function follow(job) {
    stream?.close();
    // From the job's first event on, also in a page that opens late.
    stream = connect("/jobs/", { entityIds: job, lastEventId: "earliest", onMessage: show });
  }

  function show({ event_type: type, data }) {
    if (type === "job.progress") {
      document.getElementById("bar").value = data.done / data.of;
      document.getElementById("text").textContent = `${data.done} of ${data.of}`;
    } else {
      document.getElementById("text").textContent = data.result ?? "failed";
      stream.close(); // nothing follows
    }
  }

  document.getElementById("start").onclick = async () => {
    const { job } = await (await fetch("/jobs", { method: "POST" })).json();
    location.hash = job;
  };
  onhashchange = () => follow(location.hash.slice(1));
  if (location.hash) follow(location.hash.slice(1));
</script>"""
