"""Example rows of dialogues, of trees of messages, and of single turns written as dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datamodules.examples.layout import Layout
from datamodules.examples.texts import CHINESE, ENGLISH, KOREAN, THAI, Fact

REVIEWED = {"review_result": True, "deleted": False, "synthetic": False}


def share_gpt(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """Dialogues of two turns, of each fact and the next."""
    return [
        {"id": f"example{i}_0", "conversations": [turn for f in pair for turn in _turns(f)]} for i, pair in enumerate(neighbours(facts))
    ]


def neighbours(facts: Sequence[Fact]) -> list[tuple[Fact, Fact]]:
    """Each fact with the one after it, the last with the first."""
    return list(zip(facts, [*facts[1:], facts[0]], strict=True))


def _turns(fact: Fact) -> list[dict[str, str]]:
    return [{"from": "human", "value": fact.question}, {"from": "gpt", "value": fact.answer}]


def tree(number: int, fact: Fact, language: str) -> dict[str, Any]:
    """A question with two ranked answers."""
    told: dict[str, Any] = {**REVIEWED, "lang": language}
    replies = [
        {
            "message_id": f"t{number}a{rank}",
            "parent_id": f"t{number}",
            "role": "assistant",
            "text": text,
            "rank": rank,
            "replies": [],
            **told,
        }
        for rank, text in enumerate((fact.answer, fact.worse))
    ]
    prompt = {"message_id": f"t{number}", "role": "prompter", "text": fact.question, "replies": replies, **told}
    return {"message_tree_id": f"t{number}", "tree_state": "ready_for_export", "prompt": prompt}


def wizard(fact: Fact) -> dict[str, Any]:
    """One question to the wizard, who reads the fact's statement."""
    dialog = [
        {"speaker": "0_Apprentice", "text": fact.question, "retrieved_passages": []},
        {"speaker": "1_Wizard", "text": fact.answer, "checked_sentence": {"self_0": fact.statement}},
    ]
    return {
        "chosen_topic": fact.answer,
        "wizard_eval": 5,
        "persona": fact.statement,
        "chosen_topic_passage": [fact.statement],
        "dialog": dialog,
    }


def opela(number: int, fact: Fact) -> list[dict[str, str]]:
    """The rows of one visit."""
    visit = {"doc_id": f"예시_user{number:04}_1_2", "is_pause": "0"}
    return [
        {**visit, "person_type": person, "turn_notation": str(turn), "text": text}
        for turn, (person, text) in enumerate((("user", fact.question), ("persona", fact.answer)), start=1)
    ]


HULIC = {"작업자": "A", "나이": "30대", "성별": "여", "적절성": "1", "구체성": "1", "인간유사도": "1"}
SHARED, SHARED_KO = share_gpt(ENGLISH), share_gpt(KOREAN)
LLAMATUNE = [
    [*([{"role": "SYSTEM", "content": "Answer in one sentence."}] if i % 2 else []),
     *(m for f in pair for m in ({"role": "USER", "content": f.question}, {"role": "ASSISTANT", "content": f.answer}))]
    for i, pair in enumerate(neighbours(ENGLISH))
]  # fmt: skip
COUNSEL = [
    [
        {"speaker": "상담사", "utterance": "안녕하세요."},
        {"speaker": "내담자", "utterance": f.question},
        {"speaker": "상담사", "utterance": f.answer},
    ]
    for f in KOREAN
]

LAYOUTS = {
    "ChatbotData": Layout(".csv", [{"Q": fact.question, "A": fact.answer, "label": "0"} for fact in KOREAN]),
    "CounselGPT": Layout(rows=COUNSEL),
    "HHRlhf": Layout(
        rows=[
            {"chosen": f"\n\nHuman: {f.question}\n\nAssistant: {f.answer}", "rejected": f"\n\nHuman: {f.question}\n\nAssistant: {f.worse}"}
            for f in ENGLISH
        ]
    ),
    "HuLiC": Layout(".csv", [{"Turn": "1", **HULIC, "질문": fact.question, "답변": fact.answer} for fact in KOREAN]),
    "KlongKlon": Layout(
        rows=[{"text": f"<human>: {f.question} <context>:{f.statement} <bot>:{f.answer}", "source": "example"} for f in THAI]
    ),
    "KoWoW": Layout(".json", [wizard(fact) for fact in KOREAN]),
    "KorquadChat": Layout(
        rows=[{"source": "korquad-chat", "text": f"<sys>{f.statement}\n<usr> {f.question}\n<bot> {f.answer}"} for f in KOREAN]
    ),
    "LlamaTune": Layout(".json", LLAMATUNE),
    "OIGChip2Ko": Layout(
        rows=[
            {"user": e.question, "chip2": e.answer, "user_translated": k.question, "chip2_translated": k.answer, "index": i}
            for i, (e, k) in enumerate(zip(ENGLISH, KOREAN, strict=True))
        ]
    ),
    "Oasst1": Layout(rows=[tree(i, fact, "th") for i, fact in enumerate(THAI)] + [tree(i + 50, f, "ko") for i, f in enumerate(KOREAN)]),
    "Oasst1Selected": Layout(
        ".csv",
        [
            {"lang": "th", "message_tree_id": f"t{i}", "answer_nb_net_plus": "2", "prompt": f.question, "answer": f.answer}
            for i, f in enumerate(THAI)
        ],
    ),
    "Opela": Layout(".csv", [row for i, fact in enumerate(KOREAN) for row in opela(i, fact)]),
    "OpenAssistantGuanaco": Layout(
        rows=[{"text": "".join(f"### Human: {f.question}### Assistant: {f.answer}" for f in pair)} for pair in neighbours(CHINESE)]
    ),
    "ShareGPT": Layout(".json", SHARED),
    "ShareGPTKo": Layout(".json", SHARED_KO),
    "ShareGPTParallel": Layout(".json", SHARED),
    "ShareGPTParallel.target_path": Layout(".json", SHARED_KO),
}
