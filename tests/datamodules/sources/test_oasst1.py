"""OpenAssistant conversations in both layouts."""

import pytest

from datamodules.sources import Oasst1
from datamodules.sources.oasst1 import label, language_code
from kinnari.errors import ConfigError
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def message(name, role, *replies, **more):
    usual = {"lang": "th", "review_result": True, "deleted": False, "synthetic": False, "text": name, "message_id": name}
    return {**usual, "role": role, "replies": list(replies), **more}


def tree(prompt, state="ready_for_export"):
    return {"message_tree_id": prompt["message_id"], "tree_state": state, "prompt": prompt}


ANSWERED = message(
    "q", "prompter",
    message("worse", "assistant", rank=1),
    message("better", "assistant", message("more?", "prompter", message("more.", "assistant")), rank=0),
)  # fmt: skip


def flat(node, parent, tree_id):
    """As the hub's table has it: a row per message, ranks as floats, labels as columns."""
    yield {**node, "parent_id": parent, "message_tree_id": tree_id, "tree_state": "ready_for_export", "replies": None}
    for reply in node["replies"]:
        yield from flat(reply, node["message_id"], tree_id)


def test_the_best_path_of_a_tree_is_one_conversation(tmp_path):
    (one,) = read(tmp_path, Oasst1, tree(ANSWERED))

    assert one.messages == talk("q", "better", "more?", "more.")
    assert (one.record_id, one.language, one.licence) == ("oasst1:0:0", "th", "Apache-2.0")


def test_all_paths_train_each_answer_once(tmp_path):
    again = message("again?", "prompter", message("again.", "assistant"))
    first = message("a", "assistant", message("more?", "prompter", message("more.", "assistant")), again)
    one, two = read(tmp_path, Oasst1, tree(message("q", "prompter", first)), paths="all")

    assert [m.content for m in one.messages] == ["q", "a", "more?", "more."]
    assert [m.content for m in two.messages] == ["q", "a", "again?", "again."]
    assert [m.trained for m in one.messages] == [None] * 4
    assert [m.trained for m in two.messages] == [None, False, None, None]
    assert (one.record_id, two.record_id) == ("oasst1:0:0", "oasst1:0:1")


def test_rows_of_single_messages_make_the_same_conversations(tmp_path):
    other = message("Q", "prompter", message("A", "assistant", lang="pt-BR", rank=0.0), lang="pt-BR")
    rows = [*flat(ANSWERED, None, "q"), *flat(other, None, "Q")]

    for paths in ("best", "all"):
        nested = kept(read(tmp_path, Oasst1, tree(ANSWERED), tree(other), paths=paths))
        assert kept(read(tmp_path, Oasst1, *rows, paths=paths)) == nested
    assert [r.language for r in nested][-1] == "pt"


@pytest.mark.parametrize(
    ("defect", "reason"),
    [
        ({"deleted": True}, "it was deleted"),
        ({"review_result": False}, "it did not pass review"),
        ({"synthetic": True}, "a model wrote it"),
        ({"text": " "}, "it has no known role or no text"),
        ({"role": "moderator"}, "it has no known role or no text"),
        ({"role": "prompter"}, "it has the role of the message it replies to"),
    ],
)
def test_what_should_not_be_trained_on_is_left_out_with_what_follows_it(tmp_path, defect, reason):
    spoilt = message("bad", "assistant", message("r", "prompter", message("s", "assistant")), rank=0) | defect
    records = read(tmp_path, Oasst1, tree(message("q", "prompter", spoilt, message("good", "assistant", rank=1))))

    assert reasons(records) == [reason, *["it replies to a message that is left out"] * 2]
    assert kept(records)[0].messages == talk("q", "good")


def test_a_review_that_never_happened_is_no_defect(tmp_path):
    (one,) = read(tmp_path, Oasst1, tree(message("q", "prompter", message("a", "assistant", review_result=None), review_result=None)))

    assert one.messages == talk("q", "a")


def test_messages_of_models_are_kept_when_asked_for(tmp_path):
    row = tree(message("q", "prompter", message("a", "assistant", synthetic=True)))

    assert reasons(read(tmp_path, Oasst1, row)) == ["a model wrote it", "no answer is left in the tree"]
    assert kept(read(tmp_path, Oasst1, row, synthetic=True))[0].messages == talk("q", "a")


def test_languages_are_chosen_by_their_codes(tmp_path):
    row = tree(message("q", "prompter", message("a", "assistant", lang="zh-CN"), lang="zh"))

    assert kept(read(tmp_path, Oasst1, row, languages=["zh", "th"]))[0].language == "zh"
    assert reasons(read(tmp_path, Oasst1, row, languages=["th"]))[0] == "its language 'zh' is not among those asked for"
    assert [language_code(x) for x in ("uk-UA", "th", None, 3)] == ["uk", "th", "", ""]


def test_quality_is_read_in_both_layouts_and_asked_of_every_message(tmp_path):
    nested, table = {"quality": {"value": 0.75, "count": 3}}, {"name": ["spam", "quality"], "value": [0.0, 0.25], "count": [3, 3]}
    low = message("low", "assistant", rank=0, labels=table)
    row = tree(message("q", "prompter", low, message("none", "assistant"), message("high", "assistant", labels=nested), labels=nested))
    records = read(tmp_path, Oasst1, row, min_quality=0.5)

    assert (label(nested, "quality"), label(table, "quality"), label(table, "toxicity"), label(None, "quality")) == (0.75, 0.25, None, None)
    assert reasons(records) == ["its quality is 0.25, less than 0.5", "its quality is not rated, less than 0.5"]
    assert kept(records)[0].messages == talk("q", "high")


def test_trees_in_other_states_are_left_out_unless_asked_for(tmp_path):
    row = tree(ANSWERED, state="aborted_low_grade")

    assert reasons(read(tmp_path, Oasst1, row)) == ["the tree is in the state 'aborted_low_grade'"]
    assert len(kept(read(tmp_path, Oasst1, row, tree_states=None))) == 1


def test_rows_that_are_neither_are_rejected_and_the_rest_goes_on(tmp_path):
    records = read(tmp_path, Oasst1, ["x"], {"text": "a"}, {"prompt": "q"}, tree(ANSWERED), {"message_id": "z", "parent_id": "gone"})

    assert reasons(records) == [
        *["a row must be a tree with 'prompt' or a message with 'message_id'"] * 2,
        "there is no message in the row",
        "it replies to no message of its tree",
    ]
    assert len(kept(records)) == 1


def test_options_out_of_range_say_so():
    with pytest.raises(ConfigError, match="paths=worst is neither best nor all"):
        Oasst1(path="x", paths="worst")
    with pytest.raises(ConfigError, match="min_quality=3: quality labels lie between 0 and 1"):
        Oasst1(path="x", min_quality=3)
