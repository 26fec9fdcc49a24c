"""What a release uploads: the wheel, the source distribution, and the page that an index shows."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
from readme_renderer import markdown

from support.processes import ROOT
from support.producer import Producer
from support.server import Server
from support.waiting import WAIT_SECONDS

# The first test waits until both are built, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(400)

REPOSITORY = "https://github.com/flask-sse-sink/flask-sse-sink"
INFO = "flask_sse_sink.egg-info/"


class Built(NamedTuple):
    """The two distributions, and the names of the files that they were built from."""

    wheel: Path
    source: Path
    files: frozenset[str]

    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}

    def in_source(self) -> set[str]:
        """Return the names in the source distribution, without what setuptools adds."""
        with tarfile.open(self.source) as archive:
            names = [member.name.partition("/")[2] for member in archive if member.isfile()]
        return {name for name in names if name != "PKG-INFO" and not name.startswith(INFO)}

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
            return email.message_from_string(archive.read(name).decode())


def project_files() -> frozenset[str]:
    """Return the names of the project's files, in a checkout or an unpacked distribution."""
    if (ROOT / ".git").exists():
        # The checkout may be another user's, which git refuses otherwise.
        command = ["git", "-c", "safe.directory=*", "ls-files"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = listed.stdout.splitlines()
    else:
        names = (ROOT / INFO / "SOURCES.txt").read_text().splitlines()
    return frozenset(
        name for name in names if (ROOT / name).is_file() and not name.startswith(INFO)
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both distributions from a copy: setuptools would take what earlier builds left."""
    folder = tmp_path_factory.mktemp("project")
    files = project_files()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "build", "--no-isolation"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is absent from the `packages` configuration" not in done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    (source,) = (folder / "dist").glob("*.tar.gz")
    return Built(wheel, source, files)


def test_the_source_distribution_holds_every_file_of_the_project(built: Built) -> None:
    # So whatever runs in a checkout, its tests above all, runs from this.
    assert built.in_source() == built.files


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built: Built) -> None:
    package = {name for name in built.files if name.startswith("flask_sse_sink/")}
    package.add("pytest_flask_sse_sink.py")
    held = {name for name in built.in_wheel() if ".dist-info/" not in name}
    assert held == package
    assert {"flask_sse_sink/py.typed", "flask_sse_sink/log/redis/scripts/append.lua"} < held


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment in which pip has installed the wheel and nothing else.

    The packages that it needs are those of this environment: its folder stands last on the path,
    and what it says of an editable installation isn't read.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    command += ["--no-index", "--no-deps", "--disable-pip-version-check", str(built.wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_what_pip_installed_serves_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    # `env -i` also takes away the path on which this checkout stands.
    clean = ["env", "-i", "-C", str(tmp_path)]
    found = [*clean, str(installed / "bin/python"), "-c"]
    found += ["import flask_sse_sink; print(flask_sse_sink.__file__)"]
    place = subprocess.run(found, check=True, capture_output=True, text=True, timeout=120).stdout
    assert place.startswith(str(installed))

    def command(port: int) -> list[str]:
        # Where the test's own configuration isn't named, the server makes one.
        return [*clean, str(installed / "bin/sse-sink"), "serve", "--port", str(port)]

    (tmp_path / "test").mkdir()
    with Server(tmp_path / "test", command=command) as server:
        token = re.search("^INGEST_TOKEN=(.*)$", (tmp_path / ".env").read_text(), re.M)
        assert token is not None
        with server.stream() as stream, Producer(server.port, token[1]) as producer:
            ids = producer.post({"event_type": "a.b"})
            assert stream.message_id() == ids[0]
        page = urllib.request.Request(server.url("/"), headers={"Accept": "text/html"})
        with urllib.request.urlopen(page, timeout=WAIT_SECONDS) as answer:
            assert b"/events_stream/" in answer.read()
    assert (tmp_path / "config.yaml").is_file()


def test_twine_finds_nothing_to_complain_about(built: Built) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built[:2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_every_link_of_an_indexs_page_leads_somewhere(built: Built) -> None:
    page = markdown.render(str(built.metadata().get_payload()))
    assert page is not None, "an index refuses this description"
    targets = set(re.findall(r' (?:href|src)="([^"]*)"', page))
    ids = set(re.findall(r' id="([^"]*)"', page))
    assert any(target.startswith(REPOSITORY) for target in targets)
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in ids, target
            continue
        assert re.match(r"https?://[\w.:-]+(/|$)", target), f"{target} is relative"
        own = re.match(rf"{REPOSITORY}/(?:blob|raw|tree)/main/([^#]+)", target)
        if own:
            assert (ROOT / own[1]).exists(), f"{own[1]} isn't in the repository"


def test_an_index_and_pip_are_told_all_that_they_ask_for(built: Built) -> None:
    metadata = built.metadata()
    for name in ("Summary", "Author", "Home-page", "Keywords", "Requires-Python"):
        assert metadata[name], name
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    named = {url.partition(", ")[0] for url in metadata.get_all("Project-URL", [])}
    assert named >= {"Documentation", "Changes", "Source", "Issues"}
    assert set(metadata.get_all("Provides-Extra", [])) >= {"server", "redis", "jwt", "cli"}
    # Without a lower bound, pip is free to install a version that doesn't work.
    for requirement in metadata.get_all("Requires-Dist", []):
        assert ">=" in requirement, requirement
