"""Example rows of the instruction sets of one question and one answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datamodules.examples.layout import Layout
from datamodules.examples.texts import CHINESE, ENGLISH, JAPANESE, KOREAN, THAI, Fact


def alpaca(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """{instruction, input, output}, every third with an input."""
    return [{"instruction": fact.question, "input": "" if i % 3 else fact.statement, "output": fact.answer} for i, fact in enumerate(facts)]


def cued(fact: Fact) -> str:
    """WangChanGLM's and OIG's text of one turn."""
    return f"<human>: {fact.question}\n<bot>: {fact.answer}"


OIG = [{"text": cued(fact), "metadata": {"source": "example"}} for fact in ENGLISH]
INFILL = [{"text": f"Background: {fact.statement}\n{cued(fact)}", "metadata": {"source": "example"}} for fact in ENGLISH]
DOLLY = [{"instruction": f.question, "context": f.statement if i % 2 else "", "response": f.answer, "category": "open_qa"}
         for i, f in enumerate(ENGLISH)]  # fmt: skip
# With and without a context, so that rows of each of its five originals are among them.
TRANSLATED = [{"text": row["text"], "translated_text_replaced": cued(thai)} for row, thai in zip(OIG, THAI, strict=True)]
TRANSLATED += [
    {"text": row["text"], "translated_text_replaced": f"<context>: {thai.statement}\n{cued(thai)}"}
    for row, thai in zip(INFILL, THAI, strict=True)
]

LAYOUTS = {
    "Alpaca": Layout(".json", alpaca(ENGLISH)),
    "AlpacaCleaned": Layout(".json", alpaca(ENGLISH)),
    "AlpacaZh": Layout(".json", alpaca(CHINESE)),
    "Belle": Layout(rows=alpaca(CHINESE)),
    "Dolly": Layout(rows=DOLLY),
    "EvolveInstructKo": Layout(".json", [{"input": fact.question, "output": fact.answer} for fact in KOREAN]),
    "GenericFile": Layout(rows=alpaca([*ENGLISH, *THAI, *KOREAN, *CHINESE, *JAPANESE])),
    "Guanaco": Layout(".json", alpaca([*JAPANESE, *CHINESE])),
    "HC3": Layout(rows=OIG),
    "KoAlpaca": Layout(rows=alpaca(KOREAN)),
    "KoChatGPT": Layout(".json", [{"prompt": fact.question, "completion": f"'{fact.answer}", "tokens": 9} for fact in KOREAN]),
    "KullmV2": Layout(rows=[{"id": f"alpaca_{i}", **row} for i, row in enumerate(alpaca(KOREAN))]),
    "LongForm": Layout(".json", [{"input": fact.question, "output": fact.statement, "source": "example"} for fact in ENGLISH]),
    "OIGChip2": Layout(rows=OIG),
    "OIGInfillDBpedia": Layout(rows=INFILL),
    "OpenAITLDR": Layout(rows=OIG),
    "PlainText": Layout(rows=[{"text": fact.statement} for fact in (*ENGLISH, *THAI, *KOREAN, *CHINESE, *JAPANESE)]),
    "SelfInstruct": Layout(
        rows=[{"prompt": f"{fact.question}\n\nOutput:", "completion": f" {fact.answer}<|endoftext|>"} for fact in ENGLISH]
    ),
    "ThaiWikiQA": Layout(
        rows=[{"question_id": f"q_{i}", "question": f.question, "context": f.statement, "answer": f.answer} for i, f in enumerate(THAI)]
    ),
    "WangchanTranslated": Layout(rows=TRANSLATED),
}
