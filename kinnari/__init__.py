"""Kinnari: instruction tuning and RLHF of language models, multilingual first."""

__version__ = "0.1.0"
