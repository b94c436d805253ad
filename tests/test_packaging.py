"""What an install brings: four packages and no other name, the configuration tree inside, a library that composes from there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"kinnari", "lightning_modules", "datamodules", "callbacks"}
# What a build reads. Copied, so that a build leaves nothing in the source tree and reads nothing an earlier one left there.
SOURCES = [*sorted(PACKAGES), "conf", "setup.py", "pyproject.toml", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).exists():
            subprocess.run(["cp", "-r", str(ROOT / name), str(tree)], check=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_there(folder: Path, program: str) -> str:
    """What `program` prints, with the installed copy before every other one and the source tree out of sight."""
    # -P and another working folder: neither the script's folder nor this one is on the path.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_four_packages_and_no_other_name(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES


def test_every_source_file_and_every_choice_is_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    code = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    choices = {f"kinnari/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert code <= held
    assert choices and choices <= held


@pytest.mark.slow
def test_the_packages_import_from_the_install(installed):
    program = (
        "import " + ", ".join(sorted(PACKAGES)) + "\nprint(*(m.__file__ for m in (callbacks, datamodules, kinnari, lightning_modules)))"
    )
    assert all(Path(file).is_relative_to(installed) for file in run_there(installed, program).split())


def test_a_configuration_composes_from_the_install(installed):
    program = (
        "from kinnari.tasks.compose import compose, conf_folder\n"
        "cfg = compose(['model=xglm7b', 'strategy=lora', 'hw=v100x4', 'optimizer.lr=1e-4'])\n"
        "print(conf_folder(), cfg.model.name, cfg.hw.devices, cfg.optimizer.lr)"
    )
    folder, *values = run_there(installed, program).split()
    assert Path(folder) == installed / "kinnari" / "conf"
    assert values == ["xglm7b", "4", "0.0001"]
