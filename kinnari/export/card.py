"""The model card of an exported folder: what was trained on what, under which terms, how well, and how to load it.

Only what a run left behind is told; what nobody recorded is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kinnari.export.merged import MergeReport
from kinnari.export.verify import LogitGap

Kind = Literal["adapter", "merged", "gguf", "delta", "original_llama"]

# Licences of model files -> the hub's own identifiers; any other becomes `license: other` with its name.
HUB_LICENCES = {
    "Apache-2.0": "apache-2.0", "MIT": "mit", "CC-BY-NC-4.0": "cc-by-nc-4.0", "CC-BY-4.0": "cc-by-4.0", "BSD-3-Clause": "bsd-3-clause",
    "CC-BY-SA-4.0": "cc-by-sa-4.0", "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0", "CC0-1.0": "cc0-1.0", "Gemma": "gemma",
    "Llama-2-Community": "llama2", "Llama-3-Community": "llama3", "Llama-3.1-Community": "llama3.1", "Llama-3.2-Community": "llama3.2",
}  # fmt: skip
UNKNOWN_LICENCES = ("", "unstated", "unknown")
# Families that transformers lacks: the import that makes the Auto classes know them.
FAMILY_IMPORTS = {"pangu": "kinnari.models.pangu", "glm_chinese": "kinnari.models.glm"}
LIBRARIES = {"adapter": "peft", "gguf": "gguf", "original_llama": None}
NO_LANGUAGE = ("", "unknown")


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What is known of a trained model.

    Attributes:
        name: title of the card.
        base_model: hub id of the base; None where it has none.
        base: how the base is called here, such as the name of its model file.
        licence: of the base weights, as the model file has it; None where nobody knows.
        notice: terms of the base weights, in words.
        seq2seq: encoder-decoder.
        tuning: full, lora, qlora or lora_int8; None where it is unknown.
        sources: per data source what `lineage.json` of a run says.
        datasets: hub ids among them.
        settings: hyperparameters, in the order shown.
        before, after: held-out metrics by name, before and after training.
        command: what repeats the training.
        versions: of the libraries that trained.
    """

    name: str
    base_model: str | None = None
    base: str | None = None
    licence: str | None = None
    notice: str | None = None
    seq2seq: bool = False
    tuning: str | None = None
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    command: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def model_card(
    facts: CardFacts,
    kind: Kind,
    model_type: str,
    *,
    report: MergeReport | None = None,
    gap: LogitGap | None = None,
    precision: str | None = None,
) -> ModelCard:
    """README.md of a folder, with the hub's YAML block at its head.

    Args:
        model_type: of config.json, for how to load it.
        report, gap: of the merge, where there was one.
        precision: of the weights, where `report` does not say it, such as a GGUF type.
    """
    front = front_matter(facts, kind)
    sections = [
        f"# {facts.name}\n\n{_summary(facts, kind)}",
        _terms(facts),
        _data(facts),
        _section("Training", _table(("setting", "value"), facts.settings.items()) if facts.settings else ""),
        _metrics(facts),
        _check(report, gap, precision),
        _section("How to load", _loading(facts, kind, model_type)),
        _section("Reproduce", f"```\n{facts.command}\n```" if facts.command else ""),
        _section("Software", _table(("package", "version"), facts.versions.items()) if facts.versions else ""),
    ]
    body = "\n\n".join(section for section in sections if section)
    return ModelCard(f"---\n{front.to_yaml()}\n---\n\n{body}\n")


def front_matter(facts: CardFacts, kind: Kind) -> ModelCardData:
    """The hub's metadata; keys that nothing is known for are absent."""
    licence = None if facts.licence in UNKNOWN_LICENCES else facts.licence
    hub_licence = None if licence is None else HUB_LICENCES.get(licence, "other")
    counts: dict[str, int] = {}
    for source in facts.sources.values():
        for language, count in source.get("languages", {}).items():
            counts[language] = counts.get(language, 0) + count
    task = "text2text-generation" if facts.seq2seq else "text-generation"
    names = {"loss": "held-out loss (nats per token)", "perplexity": "held-out perplexity"}
    metrics = [
        EvalResult(task_type=task, dataset_type="held-out", dataset_name="records held out of the training data",
                   metric_type=name, metric_value=round(value, 6), metric_name=names.get(name))
        for name, value in facts.after.items()
    ]  # fmt: skip
    return ModelCardData(
        license=hub_licence,
        license_name=licence if hub_licence == "other" else None,
        base_model=facts.base_model,
        language=sorted(language for language in counts if language not in NO_LANGUAGE) or None,
        datasets=list(facts.datasets) or None,
        library_name=LIBRARIES.get(kind, "transformers"),
        pipeline_tag=task,
        tags=["kinnari", *([facts.tuning] if facts.tuning else []), *([kind] if kind in ("gguf", "delta") else [])],
        model_name=facts.name if metrics else None,
        eval_results=metrics or None,
    )


def _summary(facts: CardFacts, kind: Kind) -> str:
    what = {
        "adapter": "PEFT adapter",
        "merged": "Merged weights" if facts.tuning in ("lora", "qlora", "lora_int8") else "Weights",
        "gguf": "GGUF file",
        "delta": "Weight delta, of use only together with its base",
        "original_llama": "Weights in the layout of the original LLaMA release",
    }[kind]
    base = facts.base_model or facts.base
    how = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA (4-bit base)", "lora_int8": "LoRA over an 8-bit base"}
    by = f", fine-tuned with {how[facts.tuning]}" if facts.tuning in how else ""
    return f"{what}{by}{f' of {base}' if base else ''}. Made with Kinnari."


def _terms(facts: CardFacts) -> str:
    lines = [f"Licence of the base weights: {facts.licence}."] if facts.licence not in (None, *UNKNOWN_LICENCES) else []
    if facts.notice:
        lines.append(" ".join(facts.notice.split()))
    if facts.sources:
        lines.append("The training data has licences of its own, below.")
    return _section("Terms", "\n\n".join(lines))


def _data(facts: CardFacts) -> str:
    if not facts.sources:
        return ""
    columns = ("source", "licence", "rows read", "left out", "trained on", "held out", "passes per epoch", "languages")
    rows = [
        (
            name,
            s.get("licence"),
            s.get("rows_read"),
            _left_out(s),
            s.get("train"),
            s.get("held_out"),
            s.get("weight"),
            _counts(s.get("languages")),
        )
        for name, s in facts.sources.items()
    ]
    reasons = [
        (name, step, count)
        for name, s in facts.sources.items()
        for step, count in [*s.get("rejected_because", {}).items(), *_removed(s), *s.get("dropped_because", {}).items(), *_not_drawn(s)]
    ]
    files = [(name, f["file"], f["bytes"], f"`{f['sha256']}`") for name, s in facts.sources.items() for f in s.get("files", ())]
    tables = [
        _table(columns, rows),
        "Left out, and why:\n\n" + _table(("source", "step or reason", "rows"), reasons) if reasons else "",
        _table(("source", "file", "bytes", "sha256"), files) if files else "",
    ]
    return _section("Training data", "\n\n".join(table for table in tables if table))


def _removed(source: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(step, sum(languages.values())) for step, languages in source.get("removed", {}).items()]


def _not_drawn(source: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [("not drawn (limit)", source["not_drawn"])] if source.get("not_drawn") else []


def _left_out(source: Mapping[str, Any]) -> int:
    return source.get("rejected", 0) + source.get("dropped", 0) + source.get("not_drawn", 0) + sum(count for _, count in _removed(source))


def _counts(languages: Mapping[str, int] | None) -> str:
    return ", ".join(f"{language} {count:,}" for language, count in (languages or {}).items())


def _metrics(facts: CardFacts) -> str:
    names = list(dict.fromkeys([*facts.before, *facts.after]))
    rows = [(name, facts.before.get(name), facts.after.get(name)) for name in names]
    note = "On records held out of the training data by question; loss in nats per trained token."
    return _section("Evaluation", f"{note}\n\n{_table(('held-out', 'before', 'after'), rows)}" if rows else "")


def _check(report: MergeReport | None, gap: LogitGap | None, precision: str | None) -> str:
    rows: list[tuple[str, Any]] = []
    if report is not None:
        rows.append(("weights", str(report.dtype).removeprefix("torch.")))
        if report.merged_layers:
            rows += [("adapter added to", f"{report.base} base"), ("layers merged", report.merged_layers)]
    if precision is not None:
        rows.append(("stored as", precision))
    if gap is not None:
        rows += [
            ("largest logit gap to the trained model", f"{gap.logit_gap_max:.3g}"),
            ("standard deviation of its logits", f"{gap.logit_spread:.3g}"),
            ("same greedy token", f"{gap.greedy_agreement:.2%} of {gap.positions} positions"),
            ("compared in", gap.computed_in),
        ]
    return _section("Weights", _table(("", ""), rows) if rows else "")


def _loading(facts: CardFacts, kind: Kind, model_type: str) -> str:
    auto = "Seq2SeqLM" if facts.seq2seq else "CausalLM"
    family = f"import {FAMILY_IMPORTS[model_type]}  # must come first: transformers does not know this architecture\n" if (
        model_type in FAMILY_IMPORTS) else ""  # fmt: skip
    if kind == "gguf":
        return "Any program that reads GGUF, such as llama.cpp; here `model.path=FILE.gguf`."
    recover = "The differences first become weights:\n\n```\npython launch.py task=recover task.delta=FOLDER task.base=BASE\n```\n\n"
    if kind == "original_llama":
        return "Programs that read `consolidated.00.pth` and `params.json`."
    package, name = ("peft", f"AutoPeftModelFor{auto}") if kind == "adapter" else ("transformers", f"AutoModelFor{auto}")
    imports = f"from {package} import {name}\nfrom transformers import AutoTokenizer"
    if package == "transformers":
        imports = f"from transformers import {name}, AutoTokenizer"
    calls = f"model = {name}.from_pretrained(folder)\ntokenizer = AutoTokenizer.from_pretrained(folder)"
    return f"{recover if kind == 'delta' else ''}```python\n{family}{imports}\n\n{calls}\n```"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )
    return text.replace("|", "\\|").replace("\n", " ")
