"""The verbs of launch.py, each run for real on toys, and the default run on the default model."""

import json
import subprocess
import sys

import pytest

from kinnari.tasks.compose import compose
from kinnari.tasks.run import freeze, run, run_task

TOY = ("callbacks=none", "logger=none", "trainer.precision=32-true", "data.chatterbot.limit=60", "held_out.fraction=0.1")
KEYS = {
    "task", "status", "seconds", "config_hash", "loss_curve", "peak_memory_gib", "train/tokens_per_second",
    "train/trained_tokens_per_second", "padding_fraction", "trainable_parameters", "total_parameters",
    "val/loss_before", "val/loss_after", "adapter_dir", "merged_dir", "merge/max_abs_logit_gap",
}  # fmt: skip


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run of the causal toy, with everything it leaves behind."""
    folder = tmp_path_factory.mktemp("sft")
    metric = run(compose(["model=tiny_causal", *TOY, "optimizer.lr=5e-3", "task.samples=2", f"output_dir={folder}"]))
    return folder, metric


def test_training_leaves_its_result_and_lowers_the_held_out_loss(trained):
    folder, metric = trained
    result = result_of(folder)

    assert result.keys() >= KEYS and result["status"] == "done"
    assert result["val/loss_after"] < result["val/loss_before"]
    assert metric == result["val/loss"] == result["val/loss_after"]
    assert len(result["loss_curve"]) == result["steps"] == 4
    assert [sorted(s) for s in result["samples"]] == [["after", "before", "question", "reference"]] * 2
    assert (folder / "config.yaml").is_file() and (folder / "data" / "lineage.json").is_file()
    assert list((folder / "checkpoints").glob("step_*.ckpt"))


def test_the_exports_load_without_kinnari_and_agree(trained):
    folder, _ = trained
    program = (
        "import sys, torch, peft, transformers\n"
        "adapter, merged = sys.argv[1:]\n"
        "tuned = peft.AutoPeftModelForCausalLM.from_pretrained(adapter).eval()\n"
        "plain = transformers.AutoModelForCausalLM.from_pretrained(merged).eval()\n"
        "ids = transformers.AutoTokenizer.from_pretrained(merged)('สวัสดี', return_tensors='pt').input_ids\n"
        "assert not any(name.split('.')[0] in ('kinnari', 'lightning_modules') for name in sys.modules)\n"
        "print(float((tuned(ids).logits - plain(ids).logits).abs().max()))\n"
    )
    command = [sys.executable, "-c", program, str(folder / "adapter"), str(folder / "merged")]

    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)

    assert float(done.stdout.split()[-1]) < 1e-5
    assert result_of(folder)["merge/max_abs_logit_gap"] < 1e-5


def test_an_adapter_can_be_trained_further(trained, tmp_path):
    folder, _ = trained
    first = result_of(folder)

    run(compose(["model=tiny_causal", *TOY, f"model.adapter={folder / 'adapter'}", "task.samples=0", f"output_dir={tmp_path}"]))

    assert result_of(tmp_path)["val/loss_before"] == pytest.approx(first["val/loss_after"], abs=1e-5)


def test_a_checkpoint_exports_to_the_same_adapter(trained, tmp_path):
    from safetensors.torch import load_file

    folder, _ = trained

    run(compose(["task=export", f"task.checkpoint={folder}", f"output_dir={tmp_path}"]))

    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (tmp_path, folder))
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    assert result_of(tmp_path)["status"] == "done"


def test_generate_answers_every_prompt_with_the_adapter(trained, tmp_path):
    folder, _ = trained
    overrides = [
        "task=generate",
        "model=tiny_causal",
        "trainer.precision=32-true",
        'task.prompts=[Hello,"안녕"]',
        "generation.max_new_tokens=4",
    ]

    run(compose([*overrides, f"model.adapter={folder / 'adapter'}", f"output_dir={tmp_path}"]))

    assert len(result_of(tmp_path)["answers"]) == 2


def test_inspect_reports_what_would_be_trained(tmp_path):
    run(compose(["task=inspect", "model=tiny_causal", "data.chatterbot.limit=20", f"output_dir={tmp_path}"]))

    assert result_of(tmp_path)["status"] == "done"


def test_seq2seq_trains_and_exports(tmp_path):
    run(compose(["model=tiny_seq2seq", *TOY, "optimizer.lr=5e-3", "task.samples=1", f"output_dir={tmp_path}"]))

    result = result_of(tmp_path)
    assert result["val/loss_after"] < result["val/loss_before"] and result["merge/greedy_agreement"] == 1.0


def test_alpaca_files_are_trained_on(tmp_path):
    rows = [{"instruction": f"Say {i}", "input": "loudly" if i % 2 else "", "output": str(i)} for i in range(20)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    settings = [s for s in TOY if "chatterbot" not in s]

    run(
        compose(
            ["model=tiny_causal", *settings, "data=alpaca", f"data.alpaca.path={file}", "task.samples=0", f"output_dir={tmp_path / 'out'}"]
        )
    )

    assert result_of(tmp_path / "out")["steps"] == 2


@pytest.mark.slow
def test_the_default_model_learns_on_real_dialogues(tmp_path):
    cfg = freeze(
        compose(["trainer.max_steps=4", "task.samples=1", "held_out.most=8", "data.chatterbot.limit=200", f"output_dir={tmp_path}"])
    )

    result = run_task(cfg)

    assert result["val/loss_after"] < result["val/loss_before"]
    assert result["merge/max_abs_logit_gap"] < 1e-3 and result["merge/greedy_agreement"] == 1.0
    assert result["samples"][0]["before"] and list((tmp_path / "tensorboard").glob("events*"))
