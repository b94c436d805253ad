"""PanGu-alpha trains through the same module, tunings and export as every other causal model."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from kinnari.export.adapter import export_adapter
from kinnari.export.merged import export_merged
from kinnari.export.probe import Probe
from kinnari.export.verify import verify_merge
from kinnari.models.load import load_model, load_tokenizer
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.text.batches import collate_causal
from kinnari.text.records import Tokens, flatten
from lightning_modules import CausalLMSFT
from tests.kinnari.models.pangu.toy import pangu_spec, public_folder, toy_model

TUNINGS = ("full", "lora", "qlora", "lora_int8")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = public_folder(tmp_path_factory.mktemp("pangu"), toy_model(dtype=torch.float32, spread=0.1))
    return pangu_spec(folder)


@pytest.fixture(scope="module")
def records():
    """Two records of 14 and 9 tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = [(14, 5), (9, 4)]
    tokens = [Tokens(torch.randint(10, 180, (n,), generator=generator).tolist(), [i >= p for i in range(n)]) for n, p in rows]
    return flatten(tokens, ["r:0", "r:1"], ["s"] * 2, {})


def tuned(spec, name: str, **changes):
    tuning = Tuning(name=name, r=4, **changes)
    torch.manual_seed(0)
    model = load_model(spec, dtype=torch.float32, quantization=quantization_config(tuning, torch.float32, sharded=False))
    return apply_tuning(model, tuning, spec)


def batch(records, packed: bool):
    rows = ((0, 1),) if packed else ((0,), (1,))
    return collate_causal(rows, records, pad_id=6, packed=packed, step_tokens=14)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("method", ["position_ids", "mask4d"])
def test_the_loss_head_sums_what_transformers_computes_record_by_record(spec, records, packed, attention, method):
    model = load_model(pangu_spec(spec.path, attention=attention), dtype=torch.float32)
    expected = 0.0
    for record in range(2):
        ids, trained = (torch.from_numpy(a).long()[None] for a in records[record])
        with torch.no_grad():
            expected += float(model(input_ids=ids, labels=ids.masked_fill(~trained.bool(), -100)).loss) * int(trained.sum())
    nll_sum, _ = CausalLMSFT(model, packing=method)(batch(records, packed))
    assert float(nll_sum) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TUNINGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_lowers_the_loss_and_leaves_the_frozen_base_alone(spec, records, name, checkpointing):
    module = CausalLMSFT(tuned(spec, name, gradient_checkpointing=checkpointing), packing="position_ids")
    module.model.train()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    trained = {key: p for key, p in module.named_parameters() if p.requires_grad}
    frozen = {key: p.detach().clone() for key, p in module.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = module(batch(records, packed=True))[0] / 14
        loss.backward()
        assert all(p.grad is not None for p in trained.values())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.05
    assert bool(frozen) == (name != "full")
    assert all(torch.equal(dict(module.named_parameters())[key], before) for key, before in frozen.items())


def test_lora_adapts_attention_and_mlp_of_every_block_and_nothing_else(spec):
    adapted = {n.split(".lora_A")[0].removeprefix("base_model.model.") for n, _ in tuned(spec, "lora").named_parameters() if ".lora_A" in n}
    layers = ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert adapted == {f"transformer.h.{i}.{layer}" for i in range(3) for layer in layers}


@pytest.mark.parametrize("name", ["full", "lora", "qlora"])
def test_what_was_trained_is_exported_and_computes_the_same(spec, name, tmp_path):
    model, tokenizer = tuned(spec, name).eval(), load_tokenizer(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    ids = torch.randint(10, 180, (2, 12), generator=torch.Generator().manual_seed(0))
    report = export_merged(model, tokenizer, tmp_path / "merged", dtype=torch.float32)
    gap = verify_merge(model, report.folder, Probe(ids.tolist()), dtype=torch.float32)
    assert gap.logit_gap_max < 1e-4 and gap.greedy_agreement == 1.0
    assert load_tokenizer(pangu_spec(report.folder))("鹅")["input_ids"] == tokenizer("鹅")["input_ids"]
    if name == "lora":
        adapter = export_adapter(model, tokenizer, tmp_path / "adapter")
        reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(spec.path, dtype=torch.float32), adapter).eval()
        with torch.no_grad():
            assert torch.equal(reloaded(input_ids=ids).logits, model(input_ids=ids).logits)
            generated = reloaded.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False)
        assert generated.shape[1] <= 15
