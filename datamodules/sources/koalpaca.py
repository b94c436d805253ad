"""KoAlpaca. v1.0 is Alpaca in Korean, v1.1 questions of a Korean forum with answers by ChatGPT (json lines):

    {"instruction": "양파는 어떤 식물 부위인가요?", "output": "양파는 잎이 아닌 식물의 줄기 부분입니다.", "url": "https://kin.naver.com/..."}

Source: Beomi/KoAlpaca (v1.1), Bingsu/ko_alpaca_data (v1.0, CC-BY-NC-4.0 like Alpaca; for v1.1 the repository states none for the rows).
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.alpaca import Alpaca


@dataclass(frozen=True, kw_only=True)
class KoAlpaca(Alpaca):
    """Both versions have alpaca's columns, v1.1 without `input`; `url` is not trained on."""

    name: str = "koalpaca"
    language: str = "ko"
    licence: str = "unknown; v1.0 CC-BY-NC-4.0"
