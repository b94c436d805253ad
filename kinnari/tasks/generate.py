"""task=generate: answer prompts with a model, with the template it is trained on, in the user's language if need be.

ขอสูตรต้มยำกุ้ง  ->  Give me a recipe for tom yum goong  ->  Ingredients: ...  ->  ส่วนผสม: ...
prompt             prompt_translated                         answer               answer_translated
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from rich.text import Text

from kinnari.errors import ConfigError
from kinnari.tasks.answering import Answerer, answer_store
from kinnari.tasks.generate_file import answer_file
from kinnari.text.progress import progress_line
from kinnari.text.terminal import terminal
from kinnari.translation.translator import Translation, Translator


def generate(cfg: DictConfig) -> dict[str, Any]:
    """Answer `task.prompts` and print them, or the file `generate.input`; `model.adapter` names an adapter to answer with.

    With `translation=` the prompts are translated from `task.translate_from` into `task.translate_to`, the language the model is good
    at, and the answers back. A prompt that cannot be translated has no answer, an answer that cannot be is shown as it is; both say why.

    Raises:
        ConfigError: an engine without the two languages, or the languages without an engine; a file that cannot be read.
    """
    engine = _engine(cfg)
    if cfg.generate.input is not None:
        return answer_file(cfg, lambda questions: _rows(engine, cfg, questions))
    prompts = [str(prompt) for prompt in cfg.task.prompts]
    rows = _rows(engine, cfg, prompts)
    console = terminal()
    for row in rows:
        console.print(Text(row["prompt"], style="bold"), *_shown(row), "", sep="\n", soft_wrap=True)
    return {"answers": rows}


def _rows(engine: Translator | None, cfg: DictConfig, prompts: Sequence[str]) -> list[dict[str, Any]]:
    return _answered(cfg, prompts) if engine is None else _through(engine, cfg, prompts)


def _engine(cfg: DictConfig) -> Translator | None:
    languages = (cfg.task.translate_from, cfg.task.translate_to)
    if cfg.get("translation") is None and languages == (None, None):
        return None
    if cfg.get("translation") is None or None in languages:
        raise ConfigError(
            "Translating prompts and answers takes three choices: an engine (translation=nllb or another), task.translate_from=LANGUAGE of "
            "the prompts, and task.translate_to=LANGUAGE of the model. Give all of them or none."
        )
    from kinnari.tasks.translate import translator

    return translator(cfg)


def _answered(cfg: DictConfig, questions: Sequence[str]) -> list[dict[str, Any]]:
    """prompt, answer and whether it was finished, of each question; one that cannot be answered says why."""
    if not questions:
        return []
    store = answer_store(cfg.generate.cache_file, cfg.generate.cache) if cfg.generate.input is not None else None
    rows = zip(questions, Answerer(cfg, store)(questions), strict=True)
    return [{"prompt": q, "answer": a.text, "finished": a.finished} | ({"error": a.error} if a.error else {}) for q, a in rows]


def _through(engine: Translator, cfg: DictConfig, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as `_answered`, with the translations of prompt and answer and the first error beside them."""
    users, models = cfg.task.translate_from, cfg.task.translate_to
    with progress_line("translating prompts", len(prompts)) as advance:
        asked = engine.translate(prompts, users, models, advance)
    understood = [i for i, question in enumerate(asked) if question.text is not None]
    answered = dict(zip(understood, _answered(cfg, [asked[i].text or "" for i in understood]), strict=True))
    with progress_line("translating answers", len(answered)) as advance:
        back = dict(
            zip(understood, engine.translate([row["answer"] or "" for row in answered.values()], models, users, advance), strict=True)
        )
    return [_row(prompt, asked[i], answered.get(i), back.get(i)) for i, prompt in enumerate(prompts)]


def _row(prompt: str, question: Translation, answered: dict[str, Any] | None, back: Translation | None) -> dict[str, Any]:
    row = {"prompt": prompt, "prompt_translated": question.text, "answer": None, "answer_translated": None, "finished": False}
    if answered is None or back is None:
        return row | {"error": f"the prompt could not be translated: {question.error}"}
    if answered["answer"] is None:
        return row | {"error": answered["error"]}
    row |= {"answer": answered["answer"], "answer_translated": back.text, "finished": answered["finished"]}
    return row | {"error": None if back.text is not None else f"the answer could not be translated: {back.error}"}


def _shown(row: dict[str, Any]) -> list[Text]:
    """The answer as the user reads it, and above it, dim, what the model read and said."""
    answer = row["answer"] or ""
    cut = "" if row["finished"] or row["answer"] is None else " …"
    if "error" not in row:
        return [Text(answer + cut)]
    lines = [Text(text, style="dim") for text in (row["prompt_translated"], row["answer"]) if text is not None]
    if row["error"]:
        lines.append(Text(row["error"], style="red"))
    return [*lines, Text(row["answer_translated"] + cut)] if row["answer_translated"] is not None else lines
