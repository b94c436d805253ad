"""HC3, questions answered by people (Reddit, encyclopedias, medicine, finance), file unified_hc3_human.jsonl of OIG:

    {"text": "<human>: Why is the sky blue?\\n<bot>: Air scatters blue light more.", "metadata": {"source": "unified_hc3_human"}}

Source: laion/OIG after Hello-SimpleAI/HC3; WangChanGLM keeps 55,205 rows of at most 512 tokens. English, CC-BY-SA-4.0.
"""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.sources.oig import OIGFile


@dataclass(frozen=True, kw_only=True)
class HC3(OIGFile):
    """The human answers of HC3."""

    name: str = "hc3"
    licence: str = "CC-BY-SA-4.0"
