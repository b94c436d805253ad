"""The table at the end of a training run."""

from kinnari.tasks.report import print_report

RESULT = {
    "val/loss_before": 2.4664, "val/loss_after": 2.0613, "val/perplexity_before": None, "val/perplexity_after": None,
    "train/tokens_per_second": 1234.5, "train/trained_tokens_per_second": 321.4, "padding_fraction": 0.0512, "peak_memory_gib": 2.335,
    "trainable_parameters": 32768, "total_parameters": 140352, "adapter_dir": "runs/adapter", "merged_dir": None,
}  # fmt: skip


def test_answers_with_brackets_are_printed_as_they_are(capsys):
    print_report(RESULT | {"samples": [{"question": "a [/INST] b", "before": "[bold]x", "after": ":fire: [/s]"}]})
    shown = capsys.readouterr().out
    for text in (
        "2.466",
        "2.061",
        "1,234",
        "5.1%",
        "2.33 GiB",
        "32,768 of 140,352",
        "a [/INST] b",
        "[bold]x",
        ":fire: [/s]",
        "adapter_dir: runs/adapter",
    ):
        assert text in shown, text
    assert "merged_dir" not in shown
