"""OpenAI's TL;DR, as OIG has it."""

from datamodules.sources import OpenAITLDR
from tests.datamodules.sources.read_source import read, reasons, talk


def test_summaries_that_ask_are_left_out_and_questions_in_the_post_are_not(tmp_path):
    kept, asks = read(
        tmp_path, OpenAITLDR, {"text": "<human>: Cat?\n<bot>: A cat."}, {"text": "<human>: I met her.\n<bot>: What now?"}
    )  # fmt: skip

    assert kept.messages == talk("Cat?", "A cat.") and reasons([asks]) == ["the text ends with a question mark"]


def test_thirty_thousand_are_drawn_with_the_seed_125():
    assert (OpenAITLDR(path="x").limit, OpenAITLDR(path="x").limit_seed) == (30_000, 125)
