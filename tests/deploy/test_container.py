"""The image, and what Compose and Kubernetes start it with."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec.models import ComposeSpecification

from flask_sse_sink.config import loading
from support.processes import ROOT
from support.server import Server

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
# Instructions as they are after the continuation of lines, without comments.
INSTRUCTIONS = re.sub(r"\\\n(?:\s*#[^\n]*\n)*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
)


def instructions(word: str) -> list[str]:
    """Return the arguments of every such instruction of the Dockerfile."""
    return re.findall(rf"^{word}\s+(.*?)\s*$", INSTRUCTIONS, re.MULTILINE)


def copied() -> list[str]:
    """Return the files and folders of the project that the image is built from."""
    return [name for line in instructions("COPY") for name in line.split()[:-1]]


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if each["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(DEPLOY / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_is_sent_what_it_copies_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == set(copied())
    assert not any(fnmatch.fnmatch(".env", name) for name in allowed)
    for name in copied():
        assert (ROOT / name).exists(), name


@pytest.mark.timeout(400)
def test_the_image_has_the_whole_package(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, project / name, ignore=leave_out)
        elif "/" not in name:
            shutil.copy(ROOT / name, project)
    (build,) = re.findall(r"pip wheel .*", INSTRUCTIONS)
    words = build.replace("--wheel-dir /wheels", f"--wheel-dir {tmp_path}").split()[1:]
    command = [sys.executable, "-m", "pip", *words, "--no-build-isolation", "--no-index"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = project / "flask_sse_sink"
    files = {str(p.relative_to(project)) for p in package.rglob("*") if p.is_file()}
    assert held == files


def test_nothing_in_the_image_runs_as_root() -> None:
    (user,) = instructions("USER")
    assert re.search(rf"useradd .*--uid {user} ", INSTRUCTIONS)
    assert pod()["securityContext"]["runAsUser"] == int(user) > 0
    assert INSTRUCTIONS.index("\nUSER ") < INSTRUCTIONS.index("\nCMD ")


def test_the_health_check_tells_whether_the_server_is_ready(tmp_path: Path) -> None:
    (check,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])", INSTRUCTIONS, re.MULTILINE)
    python, *words = json.loads(check)
    assert python == "python"

    def is_healthy(port: int) -> bool:
        here = [word.replace(":8000/", f":{port}/") for word in words]
        done = subprocess.run([sys.executable, *here], capture_output=True, timeout=100)
        return done.returncode == 0

    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        assert is_healthy(server.port)
        port = server.port
    assert not is_healthy(port)


def test_compose_may_start_what_it_names() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    read = ComposeSpecification.model_validate(composed)
    assert read.services is not None
    for name, service in composed["services"].items():
        known = type(read.services[name]).model_fields
        # Keys that the specification doesn't know are passed over else.
        assert service.keys() <= {f.alias or key for key, f in known.items()} | known.keys()
    for name in ("node1", "node2"):
        node = composed["services"][name]
        assert node["read_only"] is True
        assert node["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_kubernetes_accepts_every_manifest(version: str) -> None:
    for each in MANIFESTS:
        kubernetes_validate.validate(each, version, strict=True)


def test_kubernetes_probes_ask_what_the_server_answers(tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    asked = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe")]
    asked.append(container["readinessProbe"]["httpGet"])
    # While the log is away, or the server ends, a node gets no clients; it isn't restarted.
    assert [each["path"] for each in asked] == ["/healthz", "/healthz", "/readyz"]
    assert {each["port"] for each in asked} == {port["name"] for port in container["ports"]}
    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        assert {server.answers(each["path"]) for each in asked} == {200}


def test_the_nodes_in_kubernetes_have_time_to_end_their_streams() -> None:
    (container,) = pod()["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pause >= container["readinessProbe"]["periodSeconds"]
    # gunicorn's graceful_timeout, and as much again.
    assert pod()["terminationGracePeriodSeconds"] >= pause + 2 * 5


def test_the_manifests_belong_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    (container,) = pod()["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    (port,) = manifest("Service")["spec"]["ports"]
    (volume,) = [each for each in pod()["volumes"] if "configMap" in each]
    assert volume["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    named = re.search(r"SSE_SINK_CONFIG=(\S+)", INSTRUCTIONS)
    assert named is not None
    assert named[1] == f"{mount['mountPath']}/config.yaml"

    text = manifest("ConfigMap")["data"]["config.yaml"]
    (tmp_path / "config.yaml").write_text(text)
    comment = "".join(re.findall(r"^#.*\n", (DEPLOY / "kubernetes.yaml").read_text(), re.M))
    variables = re.findall(r"\$\{(\w+)", text)
    assert set(variables) == set(re.findall(r"--from-literal=(\w+)", comment))
    monkeypatch.setenv("INGEST_TOKEN", "a-token-of-the-tests")
    monkeypatch.setenv("DATABASE_URL", "redis://redis:6379/0")
    settings = loading.load(tmp_path / "config.yaml")
    assert ports[port["targetPort"]] == settings.server.port == int(instructions("EXPOSE")[0])
    assert str(settings.server.host) == "0.0.0.0"


def test_the_server_writes_nowhere_but_to_its_folder_and_to_memory(tmp_path: Path) -> None:
    """Everything else is read-only, as in the containers and under systemd."""
    (tmp_path / "data").mkdir()
    (tmp_path / "config").mkdir()
    isolate = (
        'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o bind,remount,ro / '
        '&& ! touch "$1" 2> /dev/null && shift && exec "$@"'
    )
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", isolate]
    unshare += [str(tmp_path / "data"), str(tmp_path / "config" / "written")]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system can be made read-only here: {tried.stderr}")

    # What counts the lines that run would write to a file.
    followed = [name for name in os.environ if name.startswith("COV")]
    unfollowed = ["env", *(word for name in followed for word in ("-u", name))]

    def command(port: int) -> list[str]:
        return [*unshare, *unfollowed, sys.executable, "-m", "flask_sse_sink", "serve"]

    log = {"url": f"sqlite:///{tmp_path}/data/events.db"}
    with Server(tmp_path / "config", {"database": log}, command=command) as server:
        with server.stream() as stream:
            ids = server.post([{"event_type": "a.b"}] * 2)
            assert [stream.message_id(), stream.message_id()] == ids
        # Both workers count, in shared memory.
        server.wait_for_metrics({"sse_sink_log_head_id": 2, "sse_sink_max_clients": 200})
    assert "Traceback" not in server.log, server.log
    assert "metrics will" not in server.log
