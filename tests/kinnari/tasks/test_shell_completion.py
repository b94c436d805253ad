"""The Tab key: what it offers, in Python and in a real bash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kinnari.tasks.config_errors import groups
from kinnari.tasks.shell_completion import BASH, answer, suggestions

ROOT = Path(__file__).resolve().parents[3]
HWS = [f"hw={option}" for option in groups()["hw"]]


def offered(words: str) -> list[str]:
    return suggestions(f"python launch.py {words}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hw=", HWS),
        ("model=xglm7", ["model=xglm7b"]),
        ("strategy/par", ["strategy/parallel="]),
        ("strategy/parallel=dd", ["strategy/parallel=ddp"]),
        ("model=xglm7b strategy=qlora strategy.tuning.quant", ["strategy.tuning.quant_type="]),
        ("optimizer.wei", ["optimizer.weight_decay="]),
        ("held_out.mo", ["held_out.most="]),
        ("held_out.most=", ["held_out.most=128"]),
        ("trainer.precision=", ["trainer.precision=auto"]),
        ("packing=", ["packing=auto"]),
        ("data=[alpaca,chatterbot_", ["data=[alpaca,chatterbot_ranked"]),
        ("data=[chatterbot_", ["data=[chatterbot_ranked"]),
        ("-m strategy=lora,ql", ["strategy=lora,qlora"]),
        ("strategy=lora,ql", []),  # several values without -m are a mistake
        ("hw=[cp", []),  # of which one file is chosen
        ("+bootstr", ["+bootstrap/filters=", "+bootstrap="]),
        ("--ver", ["--version"]),
        ("--cfg j", ["job"]),
        ("model=nothing_like_it trainer.max_st", ["trainer.max_steps="]),  # an unfinished word before
        ("'task.prompts=[\"a b\"]' trainer.max_st", ["trainer.max_steps="]),
        ("nothing", []),
    ],
)  # fmt: skip
def test_what_is_offered(words, expected):
    assert sorted(offered(words)) == sorted(expected)


def test_a_new_word_offers_groups_settings_and_sections():
    found = offered("model=xglm7b ")
    assert {"strategy=", "strategy/tuning=", "optimizer.", "seed=", "checkpoint."} <= set(found)
    assert not any(name.startswith("hydra") for name in found)
    assert offered("hydra/la") == ["hydra/launcher="]


def test_any_python_and_the_script_itself_are_known():
    for program in ("python launch.py", "python3.11 launch.py", "/opt/venv/bin/python launch.py", "./launch.py"):
        assert suggestions(f"{program} hw=t") == ["hw=t4"]


def test_files_are_offered_where_a_path_is_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.json").touch()
    assert offered("data=alpaca data.alpaca.path=") == ["data.alpaca.path=more/", "data.alpaca.path=rows.csv"]
    assert offered("data=alpaca data.alpaca.path=./more/a") == ["data.alpaca.path=./more/a.json"]
    assert offered(f"model.path={tmp_path}/ro") == [f"model.path={tmp_path}/rows.csv"]
    assert offered("model.path=nowhere/") == []


def test_shells_get_words_as_they_read_them():
    line = "python launch.py strategy=l"
    assert answer("query=bash", line) == "strategy=lora"
    assert answer("query=fish", "python launch.py hw=").splitlines() == HWS
    assert answer("install=bash", "") == BASH
    assert answer("install=fish", "") is None and answer("uninstall=bash", "") is None, "Hydra's"


BASH_DRIVER = """
{install}
tab() {{
    COMP_LINE=$1; COMP_POINT=${{#1}}; read -ra COMP_WORDS <<< "$1"; COMPREPLY=()
    _kinnari_complete
    printf '%s\\n' "${{COMPREPLY[*]}}"
}}
"""


def test_a_real_bash_completes_with_any_python_and_leaves_other_programs_alone(tmp_path):
    install = subprocess.run(
        [sys.executable, "launch.py", "-sc", "install=bash"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "other.py").write_text("raise SystemExit('never to be run by a Tab key')\n")
    lines = [f"{sys.executable} launch.py strategy/parallel=dd", f"{sys.executable} {tmp_path}/other.py --he", f"{sys.executable} -m pyt"]
    program = BASH_DRIVER.format(install=install) + "\n".join(f"tab '{line}'" for line in lines)
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["strategy/parallel=ddp", "", ""]
    assert done.stderr == ""
