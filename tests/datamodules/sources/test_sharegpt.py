"""ShareGPT."""

import pytest

from datamodules.sources import ShareGPT
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def row(*turns, key="conversations"):
    return {"id": "a_0", key: [{"from": speaker, "value": value} for speaker, value in turns]}


@pytest.mark.parametrize("key", ["conversations", "items"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_turns_of_human_and_gpt_are_a_conversation(tmp_path, key, suffix):
    (one,) = read(tmp_path, ShareGPT, row(("human", "Hi"), ("gpt", "Hello!"), ("human", "Bye"), ("gpt", "Bye!"), key=key), suffix=suffix)

    assert one.messages == talk("Hi", "Hello!", "Bye", "Bye!")
    assert (one.record_id, one.language, one.licence) == ("sharegpt:0", "", "unknown")


def test_names_of_roles_vary_and_a_system_message_comes_first(tmp_path):
    (one,) = read(tmp_path, ShareGPT, row(("system", "Be brief."), ("User", "Hi"), ("chatgpt", "Hello!")))

    assert one.messages == (Message("system", "Be brief."), *talk("Hi", "Hello!"))


def test_conversations_cut_at_either_end_keep_their_middle(tmp_path):
    (one,) = read(tmp_path, ShareGPT, row(("gpt", "... and that is all."), ("human", "Go on"), ("gpt", "Well."), ("human", "Th")))

    assert one.messages == talk("Go on", "Well.")


def test_a_turn_that_occurs_twice_in_a_row_counts_once(tmp_path):
    (one,) = read(tmp_path, ShareGPT, row(("human", "Hi"), ("human", "Hi"), ("gpt", "Hello!"), ("human", "Hi"), ("gpt", "Hello!")))

    assert one.messages == talk("Hi", "Hello!", "Hi", "Hello!")


def test_answers_copied_off_the_page_lose_its_html(tmp_path):
    (one,) = read(tmp_path, ShareGPT, row(("human", "<b>?"), ("gpt", '<div class="markdown prose"><p>Use <code>ls</code></p></div>')))

    assert one.messages == talk("<b>?", "Use `ls`")


def test_other_services_are_kept_when_asked_for(tmp_path):
    bing = row(("human", "Hi"), ("bing", "Hello!"))

    assert "role 'bing'" in reasons(read(tmp_path, ShareGPT, bing))[0]
    assert kept(read(tmp_path, ShareGPT, bing, other_services=True))[0].messages == talk("Hi", "Hello!")


def test_an_empty_turn_ends_the_conversation(tmp_path):
    (one,) = read(tmp_path, ShareGPT, row(("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", " "), ("human", "d"), ("gpt", "e")))

    assert one.messages == talk("a", "b")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (["x"], "this one is a list"),
        ({"id": "a"}, "there is no 'conversations' (or 'items'); found: id"),
        ({"conversations": "Hi"}, "not a list of turns"),
        ({"conversations": []}, "empty"),
        ({"conversations": ["Hi"]}, "turn 1 must be an object"),
        (row(("human", "Hi"), ("tool", "42")), "turn 2 has the role 'tool'"),
        (row(("human", "Hi"), ("gpt", None)), "turn 2 has no text"),
        (row(("gpt", "Hi")), "no question with an answer"),
    ],
)
def test_what_is_no_conversation_is_rejected_and_the_rest_goes_on(tmp_path, bad, reason):
    records = read(tmp_path, ShareGPT, row(("human", "Hi"), ("gpt", "Yo")), bad, row(("human", "Hi"), ("gpt", "Yo")))

    assert len(kept(records)) == 2 and reason in reasons(records)[0]
