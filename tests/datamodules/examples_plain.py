"""Valid rows of the plain sources in their real layouts: option -> {"suffix", "rows", "others"}, as in examples_chat."""

from __future__ import annotations

from typing import Any

ALPACA = [
    {"instruction": "Name a fruit.", "input": "", "output": "An apple."},
    {"instruction": "แปลเป็นไทย", "input": "Good morning", "output": "สวัสดีตอนเช้า"},
]
OIG = [
    {"text": "<human>: Name a fruit.\n<bot>: An apple.", "metadata": {"source": "unified_chip2"}},
    {"text": "<human>: Hi\n<bot>: Hello!\n<human>: A joke?\n<bot>: No.", "metadata": {"source": "unified_chip2"}},
]
INFILL = [{"text": "Background: Ayutthaya fell in 1767.\n<human>: When did it fall?\n<bot>: In 1767.", "metadata": {"source": "x"}}]
DOLLY = [{"instruction": "When?", "context": "In 1767.", "response": "1767", "category": "closed_qa"}]
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"}]
TRANSLATED = [
    {"text": OIG[0]["text"], "translated_text_replaced": "<human>: ผลไม้หนึ่งอย่าง\n<bot>: แอปเปิล"},
    {"text": INFILL[0]["text"], "translated_text_replaced": "<context>: อยุธยา\n<human>: เมื่อไร\n<bot>: พ.ศ. ๒๓๑๐"},
]

EXAMPLES: dict[str, dict[str, Any]] = {
    "alpaca": {"suffix": ".json", "rows": ALPACA},
    "alpaca_cleaned": {"suffix": ".json", "rows": ALPACA},
    "alpaca_zh": {"suffix": ".json", "rows": [{"instruction": "反义词", "input": "大", "output": "小"}]},
    "belle": {
        "suffix": ".jsonl",
        "rows": [
            {"instruction": "翻译成英文。", "input": "天气很好。", "output": "The weather is nice."},
            {"instruction": "Human:你好\nAssistant:你好！\nHuman:天气？\nAssistant:", "input": "", "output": "今天晴。"},
            {"id": "1", "conversations": [{"from": "human", "value": "你好"}, {"from": "assistant", "value": "你好！"}]},
            {"input": "描述地球。\\n", "target": "一颗行星。"},
        ],
    },
    "dolly": {"suffix": ".jsonl", "rows": DOLLY},
    "file": {
        "suffix": ".jsonl",
        "rows": [
            {"messages": TURNS},
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo", "weight": 0}]},
        ],
    },
    "guanaco": {
        "suffix": ".json",
        "rows": [
            {"instruction": "User: Who are you?\nAssistant: Guanaco.", "input": "System: a fact\nUser: 你好", "output": "你好！"},
            {"instruction": "雨の詩を書いて", "input": "", "output": "雨が降る"},
        ],
    },
    "hc3": {"suffix": ".jsonl", "rows": OIG},
    "longform": {"suffix": ".json", "rows": [{"input": "Why is it blue?", "output": "Air scatters blue light.", "source": "C4"}]},
    "oig_chip2": {"suffix": ".jsonl", "rows": OIG},
    "oig_infill_dbpedia": {"suffix": ".jsonl", "rows": INFILL},
    "openai_tldr": {"suffix": ".jsonl", "rows": OIG},
    "plain_text": {"suffix": ".jsonl", "rows": [{"text": "วัดพระแก้วอยู่ในกรุงเทพฯ"}, {"text": "Chiang Mai lies in the north."}]},
    "self_instruct": {
        "suffix": ".jsonl",
        "rows": [
            {"prompt": "Name a fruit.\n\nOutput:", "completion": " An apple<|endoftext|>"},
            {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "2 2", "output": "4"}]},
        ],
    },
    "wangchan_translated": {"suffix": ".jsonl", "rows": TRANSLATED},
    "wangchan_translated_parts": {"suffix": ".jsonl", "rows": TRANSLATED, "originals": {"OIGChip2": OIG, "Dolly": DOLLY}},
}
