"""Self-instruct in its layouts."""

from datamodules.sources import SelfInstruct
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def test_the_end_mark_of_another_tokenizer_is_taken_off(tmp_path):
    one, empty = read(
        tmp_path, SelfInstruct, {"prompt": "Name a fruit.\n\nOutput:", "completion": " An apple<|endoftext|>"},
        {"prompt": "Name a fruit.", "completion": " <|endoftext|>"},
    )  # fmt: skip

    assert one.messages == talk("Name a fruit.\n\nOutput:", "An apple")
    assert reasons([empty]) == ["the completion is nothing but its end mark"]


def test_a_task_with_two_instances_is_two_conversations(tmp_path):
    task = {"id": "seed_task_0", "instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "", "output": "4"}]}
    records = read(tmp_path, SelfInstruct, task, {"instruction": "Add.", "instances": []}, {"instruction": "Add.", "instances": ["x"]})

    assert [r.messages[0] for r in kept(records)[:2]] == [Message("user", "Add.", context="1 1"), Message("user", "Add.")]
    assert len({r.record_id for r in kept(records)}) == 3 and len(reasons(records)) == 1


def test_all_instances_are_rows_of_alpaca(tmp_path):
    (one,) = read(tmp_path, SelfInstruct, {"instruction": "Add.", "input": "1 1", "output": "2"})

    assert one.messages == (Message("user", "Add.", context="1 1"), Message("assistant", "2"))
