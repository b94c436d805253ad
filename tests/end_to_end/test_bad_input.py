"""What users do wrong, and what disks do: one paragraph, the right exit status, nothing lost.

Status 2: the user can mend the command or its files. Status 1: the run could not go on.
"""

from __future__ import annotations

import json
import shutil

import pytest

from kinnari.models.toy import save_toy
from kinnari.strategies.checkpoint_io import is_intact
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from tests.end_to_end.faults import disk_full
from tests.end_to_end.forked import finish, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A complete model folder."""
    folder = tmp_path_factory.mktemp("weights") / "model"
    folder.mkdir()
    save_toy(build.model_spec(compose(["model=tiny_causal"])), 0, folder)
    return folder


def refusal(folder, *overrides, status=2):
    """The paragraph of a refused run."""
    run = finish(folder / "run", "trainer.max_steps=2", *overrides, status=status)
    assert "Traceback" not in run.text(), run.text()
    return " ".join(run.text().split())


def data(path):
    return f"data.alpaca.path={path}"


# --- weights and checkpoints ----------------------------------------------------------------------------------------------


def test_weights_that_are_cut_off_missing_or_nowhere_are_refused(tmp_path, rows, weights):
    cut, empty, configless = tmp_path / "cut", tmp_path / "empty", tmp_path / "configless"
    shutil.copytree(weights, cut)
    shutil.copytree(weights, configless)
    empty.mkdir()
    file = cut / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000])
    (configless / "model.safetensors").unlink()
    for number, folder in enumerate((cut, empty, configless, tmp_path / "nowhere")):
        said = refusal(tmp_path / str(number), data(rows), f"model.path={folder}")
        assert str(folder) in said, said
        print(said)


def test_the_checkpoint_of_another_model_or_tuning_is_refused(tmp_path, rows):
    lora = finish(tmp_path / "lora", data(rows), "trainer.max_steps=1", "strategy=lora", "checkpoint.every_n_steps=1")
    file = lora.folder / "checkpoints" / "step_00000001.ckpt"
    for number, other in enumerate((("strategy=full",), ("strategy.tuning.r=4",), ("strategy=full", "hw=cpux2", "strategy/parallel=ddp"))):
        said = refusal(tmp_path / str(number), data(rows), f"checkpoint.resume={file}", *other)
        assert "the checkpoint belongs to another model or tuning" in said, said


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, rows):
    assert "no checkpoint" in refusal(tmp_path / "a", data(rows), f"checkpoint.resume={rows}")
    assert "does not exist" in refusal(tmp_path / "b", data(rows), f"checkpoint.resume={tmp_path / 'none.ckpt'}")


# --- data -----------------------------------------------------------------------------------------------------------------


def test_bad_rows_are_named_counted_and_saved_and_the_rest_is_trained_on(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 12)
    good = path.read_bytes()
    bad = [
        b'{"instruction": "bytes \xff\xfe", "output": "x"}',
        b'{"instruction": "broken", "output": ',
        b'{"question": "wrong columns", "answer": "x"}',
        b"[1, 2]",
    ]
    long = json.dumps({"instruction": "word " * 100, "output": "too late"}).encode()
    path.write_bytes(good + b"\n".join([*bad, long]) + b"\n")
    run = finish(tmp_path / "run", data(path), "trainer.max_steps=2", "model.max_length=160")

    rejects = [json.loads(line) for line in (run.folder / "data" / "rejects.jsonl").read_text().splitlines()]
    reasons = {reject["line"]: reject["reason"] for reject in rejects if "line" in reject}
    assert sorted(reasons) == [13, 14, 15, 16] and {r["file"] for r in rejects if "file" in r} == {str(path)}
    assert "not UTF-8" in reasons[13] and "broken JSON" in reasons[14]
    assert "expected columns: instruction, output, input; found: question, answer" in reasons[15]
    dropped = [reject for reject in rejects if "record_id" in reject]
    assert len(dropped) == 1 and "max_length" in dropped[0]["reason"]
    counts = run.result()["data"]["alpaca"]
    assert (counts["rejected"], counts["dropped"]) == (4, 1)
    assert counts["train"] + counts["held_out"] == 12
    assert "4 rows rejected" in run.text() and run.result()["status"] == "done"


def test_data_without_one_usable_row_is_refused(tmp_path):
    cases = {
        "nothing.jsonl": (b"", "is empty"),
        "spaces.jsonl": (b" \n\n", "is empty"),
        "no_rows.json": (b"[]", "holds no row"),
        "all_bad.jsonl": (b'{"a": 1}\n{"b": 2}\n', "all 2 rows were rejected"),
        "binary.jsonl": (bytes(range(256)) * 4, "rows were rejected"),
        "long.jsonl": (json.dumps({"instruction": "w " * 999, "output": "x"}).encode(), "max_length"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        said = refusal(tmp_path / name.partition(".")[0], data(path))
        assert message in said, said
    assert "does not exist" in refusal(tmp_path / "missing", data(tmp_path / "missing.jsonl"))
    (tmp_path / "bare").mkdir()
    assert "is a folder without data files" in refusal(tmp_path / "folder", data(tmp_path / "bare"))


# --- disks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [(), ("hw=cpux2", "strategy/parallel=ddp")], ids=["single", "ddp"])
def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before_it(tmp_path, rows, kind):
    run = finish(
        tmp_path / "run", data(rows), "trainer.max_steps=9", "checkpoint.every_n_steps=1", *kind,
        status=1, prepare=disk_full, arguments=(3, 100_000),
    )  # fmt: skip
    assert run.steps_saved() == [2, 3]
    assert all(is_intact(path) for path in (run.folder / "checkpoints").iterdir() if path.suffix == ".ckpt")
    text = " ".join(run.text().split())
    assert "step_00000004.ckpt was not written" in text and "then resume from the last checkpoint" in text
    assert "Traceback" not in text
    assert not list((run.folder / "checkpoints").glob(".*"))


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path, rows):
    (tmp_path / "run").write_text("a file is in the way\n")
    assert str(tmp_path / "run") in refusal(tmp_path, data(rows))
    assert "Choose another output_dir" in refusal(tmp_path, data(rows), f"output_dir={tmp_path / 'run' / 'below'}")
