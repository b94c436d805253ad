"""What task=export refuses before it begins to merge."""

import pytest

from kinnari.errors import ConfigError
from kinnari.models.source import model_source
from kinnari.tasks import build, export
from kinnari.tasks.compose import compose


@pytest.mark.parametrize(("wanted", "words"), [("gguf", "'t5' cannot be written as GGUF"), ("original_llama", "that of LLaMA alone")])
def test_a_format_without_words_for_the_model_is_refused_before_the_merge(wanted, words, tmp_path, monkeypatch):
    folder = model_source(build.model_spec(compose(["model=tiny_seq2seq"])))
    cfg = compose(["task=export", f"checkpoint={folder}", f"export.format={wanted}", "export.dtype=float16", f"output_dir={tmp_path}"])
    monkeypatch.setattr(export, "export_model", lambda *_, **__: pytest.fail("merged first"))
    with pytest.raises(ConfigError, match=words):
        export.export(cfg)
