"""KULLM v2: GPT4All, Dolly and Vicuna data translated into Korean by DeepL, json lines of alpaca's columns and an id,

    {"id": "alpaca_{idx}", "instruction": "3원색이란 무엇인가요?", "input": "", "output": "세 가지 기본 색은 ..."}

Source: nlpai-lab/kullm-v2, 153k rows, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.alpaca import Alpaca


@dataclass(frozen=True, kw_only=True)
class KullmV2(Alpaca):
    """Rows of alpaca's columns."""

    name: str = "kullm_v2"
    language: str = "ko"
    licence: str = "Apache-2.0"
