"""A newcomer's path: every command that README or a page shows is known here, and does what it says as far as a test can go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from kinnari.tasks.rules import check
from kinnari.tasks.run import run
from tests.docs.commands import PAGES, ROOT, commands, first_of_sweep, overrides

SBATCH = ROOT / "slurm" / "train.sbatch"
README = list(dict.fromkeys(commands(ROOT / "README.md")))

# How README's commands are tried. A command that is not here fails, and so does one that README no longer has.
MAKE = {"make demo", "make test"}  # CI runs the second; the first installs and downloads, here it is read
SHELL = {"source .venv/bin/activate"}  # a folder that `make` makes
AS_IT_IS = {  # in a process of its own, as typed
    "python launch.py task=list task.match=thai",
    "python launch.py --help",
}
AS_A_TOY = {  # run to the end with debug=toy: the same recipe on a toy of the model, example rows for the file
    "python launch.py",
    "python launch.py model=xglm7b strategy=lora hw=v100x4",
    "python launch.py model=xglm7b strategy=lora hw=v100x4 debug=toy",
    "python launch.py task=inspect data=file data.file.path=rows.csv",
    "python launch.py task=plan model=llama13b strategy=qlora hw=rtx4090",
    "python launch.py -m strategy=lora,qlora optimizer.lr=1e-5,1e-4",  # its first trial; sweeps are run by tests/end_to_end/test_sweeps.py
    "python launch.py task=generate 'task.prompts=[\"What is AI?\"]' model.adapter=outputs/sft/RUN/adapter",
}
COMPOSED = {  # minutes, or a server that does not end: composed here, run by the tests that are named
    "python launch.py task=rlhf experiment=rlhf_demo",  # tests/end_to_end/test_rlhf.py
    "python launch.py task=serve model.adapter=outputs/sft/RUN/adapter",  # tests/kinnari/serving
    "python launch.py task=export checkpoint=outputs/sft/RUN export.format=gguf export.gguf=Q8_0",  # tests/kinnari/tasks/test_export.py
}


def test_every_command_of_readme_is_tried_in_one_way():
    ways = [MAKE, SHELL, AS_IT_IS, AS_A_TOY, COMPOSED]
    known = set().union(*ways)
    assert sum(map(len, ways)) == len(known)
    assert sorted(set(README) - known) == [], "say in this file how these are tried"
    assert sorted(known - set(README)) == [], "README no longer has these"


@pytest.mark.parametrize("command", sorted(MAKE))
def test_make_knows_what_readme_asks_of_it(command):
    done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"make demo": "launch.py", "make test": "pytest"}[command] in done.stdout


@pytest.mark.parametrize("command", sorted(AS_IT_IS))
def test_a_command_that_only_looks_runs_as_typed(command, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *command.split()[2:]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 10
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


# README has this one a second time, with the debug=toy that is added here.
SAME = {"python launch.py model=xglm7b strategy=lora hw=v100x4"}


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(AS_A_TOY - SAME))
def test_a_command_of_readme_runs_to_its_end_as_a_toy(command, tmp_path, monkeypatch):
    words = overrides(command)
    assert words is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("instruction,output\n" + "".join(f"What is {i} + {i}?,{2 * i}\n" for i in range(40)))
    cfg = compose([*words, *([] if "debug=toy" in words or "task=plan" in words else ["debug=toy"])])
    run(cfg)
    assert list((tmp_path / "outputs").rglob("result.json")), "a run says what it came to"


def test_the_readme_paragraph_for_a_mistake_is_the_one_that_is_printed(tmp_path):
    typed, told = re.search(r"```\n\$ python launch\.py ([^\n]+)\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL).groups()
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *typed.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, told)


# --- every page -----------------------------------------------------------------------------------------------------------


def _by_choices() -> dict[tuple[str, ...], list[str]]:
    """Commands of all pages, put together where they choose the same files: {choices: their settings}. Composing takes 0.2 s."""
    found: dict[tuple[str, ...], list[str]] = {}
    for page in PAGES:
        if page.stem == "extending":  # its files do not exist: test_extending.py makes them
            continue
        for command in commands(page):
            words = overrides(command)
            if words is not None:
                chosen = tuple(sorted({word for word in words if word.partition("=")[0] in groups()}))
                found.setdefault(chosen, []).extend(word for word in words if word not in chosen)
    return found


COMPOSABLE = _by_choices()


@pytest.mark.parametrize("chosen", sorted(COMPOSABLE), ids=" ".join)
def test_what_a_page_types_composes(chosen):
    compose([*chosen, *dict.fromkeys(COMPOSABLE[chosen])])


def test_a_command_with_a_wrong_word_would_be_found():
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        compose([first_of_sweep("optimizer.lrr=1,2")])


def test_benchmarks_that_pages_name_are_there():
    named = {name for page in PAGES for name in re.findall(r"(?<![\w/])benchmarks/\w+\.py", page.read_text(encoding="utf-8"))}
    assert named and [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_commands_are_read_as_a_shell_reads_them(tmp_path):
    page = Path(tmp_path) / "page.md"
    page.write_text("```bash\npython launch.py a=1 \\\n  'b=[x,y]'   # why\n# only a comment\n```\n\n    python launch.py -m c=1,2\n")
    assert list(commands(page)) == ["python launch.py a=1 'b=[x,y]'", "python launch.py -m c=1,2"]
    assert [overrides(command) for command in commands(page)] == [["a=1", "b=[x,y]"], ["c=1"]]
    assert overrides("make demo") is None
    assert overrides("HYDRA_FULL_ERROR=1 taskset -c 0 python launch.py d=4") == ["d=4"]


def test_nothing_of_this_machine_is_in_a_page():
    home = os.path.expanduser("~")
    assert [page.name for page in PAGES if home in page.read_text(encoding="utf-8") or "/work/" in page.read_text(encoding="utf-8")] == []


def test_what_containers_and_the_batch_script_type_breaks_no_rule():
    """Composing does not tell whether a batch can be shared among the devices; these name many."""
    script = [
        f"python launch.py {line}" for line in re.findall(r"slurm/train\.sbatch (model=.*)$", SBATCH.read_text("utf-8"), re.MULTILINE)
    ]
    typed = [*script, *commands(ROOT / "docs" / "containers.md")]
    checked = [
        check(compose([*words, *(["hw.num_nodes=2"] if "batch.global_size=128" in words else [])]))
        for words in map(overrides, typed)
        if words
    ]
    assert len(checked) == 4
