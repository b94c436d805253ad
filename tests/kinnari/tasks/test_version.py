"""--version tells what is installed and which commit runs."""

from __future__ import annotations

import subprocess
from importlib.metadata import version

import kinnari.tasks.version
from kinnari.tasks.version import checkout, version_lines


def test_each_package_has_a_line():
    told = dict(line.split(" ", 1) for line in version_lines())
    for package in ("kinnari", "torch", "transformers", "pytorch-lightning", "peft", "hydra-core"):
        assert told[package] == version(package)


def test_a_checkout_names_its_commit_and_whether_files_differ(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        return subprocess.run(["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    (tmp_path / "conf").mkdir()
    (tmp_path / "file").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "-a", "v1", "-m", "a tag's name is no commit")
    monkeypatch.setattr(kinnari.tasks.version, "conf_folder", lambda: tmp_path / "conf")
    commit = git("rev-parse", "HEAD")[:12]
    assert checkout() == commit
    (tmp_path / "file").write_text("2")
    assert checkout() == f"{commit}+changes"


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(kinnari.tasks.version, "conf_folder", lambda: tmp_path / "conf")
    assert checkout() is None


def test_a_machine_without_git_still_tells_versions(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(kinnari.tasks.version, "conf_folder", lambda: tmp_path / "conf")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout() is None
