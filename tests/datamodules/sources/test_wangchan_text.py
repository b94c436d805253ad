"""Text with the cues of OIG and WangChanGLM."""

from datamodules.sources.wangchan_text import messages_from_wangchan
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import talk


def test_context_may_stand_before_or_after_the_question_on_lines_or_on_one():
    asked = (Message("user", "Which city?", context="Bangkok."), Message("assistant", "Bangkok."))

    assert messages_from_wangchan("<context>: Bangkok.\n<human>: Which city?\n<bot>: Bangkok.") == asked
    assert messages_from_wangchan("<human>: Which city? <context>: Bangkok. <bot>: Bangkok.") == asked


def test_a_cue_within_a_line_is_text_where_cues_begin_lines():
    assert messages_from_wangchan("<human>: What is <bot>: here?\n<bot>: A <human>: cue.") == talk(
        "What is <bot>: here?", "A <human>: cue."
    )


def test_anything_else_has_a_reason():
    assert messages_from_wangchan(None) == "the dialogue must be text, it is missing"
    assert "none of the cues" in messages_from_wangchan("Bangkok")
    assert "text before the first cue" in messages_from_wangchan("Bangkok\n<human>: a\n<bot>: b")
