"""A plan in the terminal: what to type instead."""

from __future__ import annotations

from kinnari.tasks.plan_terminal import command


def test_words_about_the_same_settings_give_way():
    words = ["task=plan", "model=llama7b", "strategy/parallel=ddp", "batch.micro_size=8", "data=[a,b]"]
    assert command(words, ("strategy/parallel=fsdp", "batch.micro_size=2")) == (
        "python launch.py task=plan model=llama7b 'data=[a,b]' strategy/parallel=fsdp batch.micro_size=2"
    )
