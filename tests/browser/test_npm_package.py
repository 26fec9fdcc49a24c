"""The package of npm: what it holds, and that programs and TypeScript can use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.processes import ROOT

TYPESCRIPT = ROOT / "tests" / "support" / "typescript"


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the packed module is installed."""
    without = "node or npm is missing, so that the module can't be packed"
    if not (shutil.which("node") and shutil.which("npm")):
        assert os.environ.get("CI") != "true", without
        pytest.skip(without)
    folder = tmp_path_factory.mktemp("consumer")
    shutil.copytree(TYPESCRIPT, folder, dirs_exist_ok=True)
    packed = run(folder, "npm", "pack", "--json", "--pack-destination", str(folder), str(ROOT))
    (package,) = json.loads(packed)
    installed = folder / "node_modules" / "flask-sse-sink"
    with tarfile.open(folder / package["filename"]) as archive:
        archive.extractall(folder, filter="data")
    installed.parent.mkdir()
    (folder / "package").rename(installed)
    return folder


def run(folder: Path, *command: str) -> str:
    """Return what a command prints that must succeed."""
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_package_holds_the_module_and_its_types_and_no_python(consumer: Path) -> None:
    installed = consumer / "node_modules" / "flask-sse-sink"
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*.*")}
    assert files == {
        "README.md",
        "docs/javascript.md",
        "flask_sse_sink/static/sse-sink.d.ts",
        "flask_sse_sink/static/sse-sink.js",
        "package.json",
    }
    assert (installed / "LICENSE").exists()


def test_a_program_imports_the_packed_module_by_its_name(consumer: Path) -> None:
    script = 'import * as module from "flask-sse-sink"; console.log(Object.keys(module).join())'
    assert run(consumer, "node", "--input-type=module", "-e", script) == "connect\n"


def test_the_typescript_compiler_accepts_right_uses_and_refuses_wrong_ones(consumer: Path) -> None:
    # Beside the packed module, which npm would remove.
    compiler = consumer / "compiler"
    compiler.mkdir()
    shutil.copy(TYPESCRIPT / "package.json", compiler)
    run(compiler, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock")
    tsc = compiler / "node_modules" / "typescript" / "bin" / "tsc"
    options = [
        "--noEmit",
        "--strict",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--skipLibCheck",
    ]
    run(consumer, "node", str(tsc), *options, "use.ts")
