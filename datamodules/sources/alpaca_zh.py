"""Chinese Alpaca, the translated rows or those answered anew in Chinese, columns as in Alpaca:

    {"instruction": "将句子改写成过去时。", "input": "我去学校。", "output": "我去了学校。"}

Sources: ymcui/Chinese-LLaMA-Alpaca, alpaca_data_zh_51k.json; shibing624/alpaca-zh (GPT-4). CC-BY-NC-4.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.alpaca import Alpaca


@dataclass(frozen=True, kw_only=True)
class AlpacaZh(Alpaca):
    """A file of Chinese alpaca rows."""

    name: str = "alpaca_zh"
    language: str = "zh"
