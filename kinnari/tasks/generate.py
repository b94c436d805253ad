"""task=generate: answer prompts with a model, with the template it is trained on."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from kinnari.generation import sampler
from kinnari.tasks import build
from kinnari.text.conversation import Message
from kinnari.text.progress import progress_line


def generate(cfg: DictConfig) -> dict[str, Any]:
    """Answer `task.prompts` and print them; `model.adapter` names an adapter to answer with."""
    model, tokenizer = build.load_for_inference(cfg)
    questions = [str(prompt) for prompt in cfg.task.prompts]
    conversations = [[Message("user", question)] for question in questions]
    seq2seq = model.config.is_encoder_decoder
    prompts = sampler.chat_prompts(tokenizer, build.template(cfg), conversations, seq2seq=seq2seq)
    with progress_line("answering", len(prompts)) as advance:
        answers = sampler.generate(model, tokenizer, prompts, build.generation_settings(cfg), seed=cfg.seed, on_progress=advance)
    console = Console()
    for question, answer in zip(questions, answers, strict=True):
        cut = "" if answer.finished else " …"
        console.print(Text(question, style="bold"), Text(answer.text + cut), "", sep="\n", soft_wrap=True)
    rows = [{"prompt": q, "answer": a.text, "finished": a.finished} for q, a in zip(questions, answers, strict=True)]
    return {"answers": rows}
