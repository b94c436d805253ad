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
    "val/loss_before", "val/loss_after", "adapter_dir", "merged_dir", "logit_gap_max", "greedy_agreement", "files", "precision",
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
    assert result_of(folder)["logit_gap_max"] < 1e-5


def test_an_adapter_can_be_trained_further(trained, tmp_path):
    folder, _ = trained
    first = result_of(folder)

    run(compose(["model=tiny_causal", *TOY, f"model.adapter={folder / 'adapter'}", "task.samples=0", f"output_dir={tmp_path}"]))

    assert result_of(tmp_path)["val/loss_before"] == pytest.approx(first["val/loss_after"], abs=1e-5)


def test_a_checkpoint_exports_to_the_same_adapter(trained, tmp_path):
    from safetensors.torch import load_file

    folder, _ = trained

    run(compose(["task=export", f"checkpoint={folder}", "export.shard_size=100KB", f"output_dir={tmp_path}"]))

    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (tmp_path, folder))
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    result = result_of(tmp_path)
    assert result["status"] == "done" and result["logit_gap_max"] < 1e-5 and result["greedy_agreement"] == 1.0
    written = {file["path"]: file for file in result["files"]}
    assert len([path for path in written if path.startswith("merged/model-0")]) > 3
    assert all((tmp_path / path).stat().st_size == file["bytes"] for path, file in written.items())


def test_the_model_card_tells_the_runs_data_licence_and_metrics(trained):
    from huggingface_hub import ModelCard

    folder, _ = trained
    for kind, library in (("adapter", "peft"), ("merged", "transformers")):
        card = ModelCard.load(folder / kind / "README.md")
        assert card.data.license == "mit" and card.data.library_name == library and card.data.language == ["en"]
        lineage = json.loads((folder / "data" / "lineage.json").read_text())["chatterbot"]
        assert f"| chatterbot | BSD-3-Clause | {lineage['rows_read']:,} |" in card.text and lineage["files"][0]["sha256"] in card.text
        metrics = {r.metric_type: r.metric_value for r in card.data.eval_results}
        assert metrics["loss"] == pytest.approx(result_of(folder)["val/loss_after"], abs=1e-6)


def test_a_merge_over_the_limit_fails_and_leaves_no_model(trained, tmp_path):
    from kinnari.errors import ExportRejected

    folder, _ = trained
    settings = ["export.dtype=bfloat16", "export.max_logit_gap=1e-9", f"output_dir={tmp_path}"]

    with pytest.raises(ExportRejected, match=r"export\.max_logit_gap"):
        run(compose(["task=export", f"checkpoint={folder}", *settings]))

    result = result_of(tmp_path)
    assert result["status"] == "failed" and 1e-9 < result["logit_gap_max"] < 0.1 and "does not compute" in result["error"]
    assert not (tmp_path / "merged").exists() and not list(tmp_path.glob("*.tmp"))


def test_a_run_is_not_written_over_by_its_own_export(trained):
    from kinnari.errors import ConfigError

    folder, _ = trained
    before = (folder / "config.yaml").read_bytes()

    with pytest.raises(ConfigError, match="output_dir"):
        run(compose(["task=export", f"checkpoint={folder}", f"output_dir={folder}"]))

    assert (folder / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_the_folders_of_a_run_export_as_its_checkpoint_does(kind, trained, tmp_path):
    from safetensors.torch import load_file

    folder, _ = trained

    run(compose(["task=export", f"checkpoint={folder / kind}", f"output_dir={tmp_path}"]))

    ours, theirs = (load_file(f / "merged" / "model.safetensors") for f in (tmp_path, folder))
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    assert "chatterbot" in (tmp_path / "merged" / "README.md").read_text()


def test_a_run_becomes_a_gguf_file(trained, tmp_path):
    folder, _ = trained

    run(compose(["task=export", f"checkpoint={folder}", "export.format=gguf", "export.gguf=Q8_0", f"output_dir={tmp_path}"]))

    result = result_of(tmp_path)
    assert [f["path"] for f in result["files"]] == ["gguf/README.md", "gguf/tiny_causal-lora-Q8_0.gguf"]
    assert result["merge"]["logit_gap_max"] < 1e-5 < result["logit_gap_max"] and result["merged_dir"] is None
    assert not (tmp_path / "merged").exists()


def test_a_run_becomes_a_delta_that_gives_the_model_back(trained, tmp_path):
    folder, _ = trained
    out = tmp_path / "out"

    run(compose(["task=export", f"checkpoint={folder}", "export.format=delta", "export.keep_merged=true", f"output_dir={out}"]))
    base = result_of(out)["delta"]["base"]
    source = json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    run(compose(["task=recover", f"task.delta={out / 'delta'}", f"task.base={source}", f"output_dir={tmp_path / 'back'}"]))

    back, merged = (f / "model.safetensors" for f in (tmp_path / "back" / "recovered", out / "merged"))
    assert back.read_bytes() == merged.read_bytes() and base and result_of(out)["logit_gap_max"] < 1e-5


def test_a_run_becomes_the_original_llama_layout(trained, tmp_path):
    folder, _ = trained

    run(compose(["task=export", f"checkpoint={folder}", "export.format=original_llama", f"output_dir={tmp_path}"]))

    assert {"original_llama/consolidated.00.pth", "original_llama/params.json"} <= {f["path"] for f in result_of(tmp_path)["files"]}


@pytest.mark.parametrize("strategy", ["qlora", "full"])
def test_other_tunings_export_at_the_end_and_from_the_checkpoint_alike(strategy, tmp_path):
    from safetensors.torch import load_file

    folder, again = tmp_path / "run", tmp_path / "again"
    run(compose(["model=tiny_causal", f"strategy={strategy}", *TOY, "optimizer.lr=5e-3", "task.samples=0", f"output_dir={folder}"]))
    latest = max((folder / "checkpoints").glob("step_*.ckpt"))

    run(compose(["task=export", f"checkpoint={latest}", f"output_dir={again}"]))

    ours, theirs = (load_file(f / "merged" / "model.safetensors") for f in (again, folder))
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)
    for result in map(result_of, (folder, again)):
        assert result["logit_gap_max"] < 1e-5 and result["greedy_agreement"] == 1.0 and result["positions"] > 300
        assert (result["adapter_dir"] is None) == (strategy == "full")


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
    assert result["val/loss_after"] < result["val/loss_before"] and result["greedy_agreement"] == 1.0


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
    assert result["logit_gap_max"] < 1e-3 and result["greedy_agreement"] == 1.0
    assert result["samples"][0]["before"] and list((tmp_path / "tensorboard").glob("events*"))
