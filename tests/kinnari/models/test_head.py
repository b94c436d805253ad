"""The loss head against transformers' own loss, family by family, and in the situations a strategy puts it into."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.functional.labels import count_trained, shift_targets
from kinnari.functional.linear_cross_entropy import linear_cross_entropy, plain_cross_entropy
from kinnari.models.head import LossHead, install_loss_head

VOCABULARY = 64
SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}

CAUSAL = {
    "llama": ("llama", LLAMA),
    "llama_tied": ("llama", {**LLAMA, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", LLAMA),
    "gpt2": ("gpt2", GPT2),
    "xglm": (
        "xglm",
        {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 32, "dropout": 0.0, "attention_dropout": 0.0},
    ),
    "bloom": ("bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "opt": (
        "opt",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "word_embed_proj_dim": 16,
            "dropout": 0.0,
        },
    ),
    "falcon": ("falcon", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}),
    "gpt_neox": ("gpt_neox", {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    # the settings are far from neutral at this size: a softcap of 0.05 bends logits of about 0.1
    "gemma2": ("gemma2", {**LLAMA, "head_dim": 8, "final_logit_softcapping": 0.05}),
    "gemma3": ("gemma3_text", {**LLAMA, "head_dim": 8, "final_logit_softcapping": 0.05}),
    "gemma3_without_softcap": ("gemma3_text", {**LLAMA, "head_dim": 8, "final_logit_softcapping": None}),
    "cohere": ("cohere", {**LLAMA, "logit_scale": 4.0}),
    "cohere2": ("cohere2", {**LLAMA, "logit_scale": 4.0}),
    "granite": ("granite", {**LLAMA, "logits_scaling": 0.25}),
}
SEQ2SEQ = {
    "t5": ("t5", {**T5, "tie_word_embeddings": True}),  # scales its hidden states before the tied head
    "flan_t5": ("t5", {**T5, "tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}),
    "mt5": ("mt5", {**T5, "tie_word_embeddings": False}),
}
FAMILIES = {**CAUSAL, **SEQ2SEQ}


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model_type, settings = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **SPECIAL, **settings)
    auto = AutoModelForCausalLM if family in CAUSAL else AutoModelForSeq2SeqLM
    model = auto.from_config(config, dtype=torch.float32).train()
    with torch.no_grad():  # initial heads are nearly flat; a spread makes softcaps and scales matter
        model.get_output_embeddings().weight.mul_(5.0)
    return model


def batch_for(family: str, model: nn.Module) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Inputs without labels, labels, and targets: two rows, a prompt and padding that are not trained."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(3, VOCABULARY, (2, 9), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 7:] = 0
    labels = torch.randint(3, VOCABULARY, (2, 9), generator=generator) if family in SEQ2SEQ else input_ids.clone()
    labels[1, 7:] = -100
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    if family in SEQ2SEQ:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels)
        return inputs, labels, labels
    labels[:, :3] = -100
    return inputs, labels, shift_targets(labels)


def lora(model: PreTrainedModel) -> nn.Module:
    adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", r=2, lora_dropout=0.0))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)  # zero at first, and then A would have no gradient
    return adapted


def backward_gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_transformers_own(family, tuning):
    base = build(family)
    inputs, labels, targets = batch_for(family, base)
    torch.manual_seed(1)
    model = lora(base) if tuning == "lora" else base
    out = model(**inputs, labels=labels)
    expected_loss = out.loss * count_trained(targets)
    expected_correct = (out.logits.argmax(-1) == targets).sum()
    expected = backward_gradients(model, expected_loss)
    head = install_loss_head(model)
    assert head.weight.requires_grad == (tuning == "full")
    for chunked in (True, False):
        with head.loss_of(targets, chunked=chunked):
            answer = model(**inputs).logits
        assert answer.shape == (2,)
        torch.testing.assert_close(answer[0], expected_loss, rtol=1e-5, atol=1e-5)
        assert answer[1] == expected_correct
        ours = backward_gradients(model, answer[0])
        assert ours.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    assert torch.equal(model(**inputs).logits, out.logits)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "cohere", "cohere2", "granite"])
def test_the_models_own_operation_on_its_logits_matters_here(family):
    # a test of the test above: were the head to forget the softcap or scale, the loss would be another
    model = build(family)
    inputs, _, targets = batch_for(family, model)
    head = install_loss_head(model)
    with head.loss_of(targets):
        right = model(**inputs).logits[0]
    head.post_head = None
    with head.loss_of(targets):
        wrong = model(**inputs).logits[0]
    assert (right - wrong).abs() > 0.1


class TestInstall:
    @pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "mt5", "opt"])
    def test_names_parameters_and_tying_stay(self, family):
        model = build(family)
        before = dict(model.named_parameters(remove_duplicate=False))
        keys = list(model.state_dict())
        head = install_loss_head(model)
        after = dict(model.named_parameters(remove_duplicate=False))
        assert list(before) == list(after) and all(before[name] is after[name] for name in before)
        assert list(model.state_dict()) == keys
        assert model.get_output_embeddings() is head
        assert type(head) is LossHead

    @pytest.mark.parametrize("family", ["llama", "llama_tied", "t5"])
    def test_saved_folder_is_the_same_and_loads_anywhere(self, family, tmp_path):
        from safetensors.torch import load_file

        model = build(family)
        model.save_pretrained(tmp_path / "before")
        install_loss_head(model)
        model.save_pretrained(tmp_path / "after")
        before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
        auto = AutoModelForCausalLM if family in CAUSAL else AutoModelForSeq2SeqLM
        assert type(auto.from_pretrained(tmp_path / "after").get_output_embeddings()) is nn.Linear

    def test_twice_is_once(self):
        model = build("llama")
        assert install_loss_head(model) is install_loss_head(model)

    def test_before_peft_is_as_good_as_after(self):
        model = build("llama")
        head = install_loss_head(model)
        assert install_loss_head(lora(model)) is head

    def test_copy_has_a_head_of_its_own(self):
        model = build("cohere")
        inputs, _, targets = batch_for("cohere", model)
        head = install_loss_head(model)
        twin = copy.deepcopy(model)
        twin_head = install_loss_head(twin)
        assert twin_head is not head and twin_head.post_head.owner is twin
        with head.loss_of(targets):
            assert twin(**inputs).logits.shape == (2, 9, VOCABULARY)

    def test_hooks_on_the_head_stay(self):
        model = build("llama")
        seen = []
        model.lm_head.register_forward_hook(lambda *_: seen.append("called"))
        install_loss_head(model)
        model(torch.ones(1, 2, dtype=torch.int64))
        assert seen == ["called"]

    def test_adapted_head_is_refused(self):
        model = get_peft_model(build("llama"), LoraConfig(target_modules=["q_proj", "lm_head"]))
        with pytest.raises(ConfigError, match="LoRA targets"):
            install_loss_head(model)

    def test_model_without_a_head_is_refused(self):
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model("llama", **SPECIAL, **LLAMA))
        with pytest.raises(ConfigError, match="no output embedding"):
            install_loss_head(model)

    def test_module_that_is_no_transformers_model_is_refused(self):
        with pytest.raises(ConfigError, match="this is Linear"):
            install_loss_head(nn.Linear(2, 2))

    def test_unknown_operation_after_the_head_is_refused(self):
        model = build("llama")
        model.config.logit_scale = 0.5
        with pytest.raises(ConfigError, match=r"'llama'.*logit_scale"):
            install_loss_head(model)

    def test_softcap_in_the_decoders_own_config_is_seen(self):
        settings = {**LLAMA, "head_dim": 8}
        config = AutoConfig.for_model("t5gemma", encoder=settings, decoder={**settings, "final_logit_softcapping": 5.0})
        config.vocab_size = config.encoder.vocab_size = config.decoder.vocab_size = VOCABULARY
        with pytest.raises(ConfigError, match="final_logit_softcapping"):
            install_loss_head(AutoModelForSeq2SeqLM.from_config(config))

    def test_bias_on_the_logits_after_the_head_is_refused(self):
        config = AutoConfig.for_model(
            "mbart",
            **SPECIAL,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        )
        with pytest.raises(ConfigError, match="final_logits_bias"):
            install_loss_head(AutoModelForSeq2SeqLM.from_config(config))


class TestLossOf:
    @pytest.mark.parametrize("family", ["gemma2", "cohere", "granite"])
    def test_failing_forward_leaves_the_model_as_it_was(self, family):
        model = build(family)
        inputs, _, targets = batch_for(family, model)
        head = install_loss_head(model)
        before = model(**inputs).logits
        with pytest.raises(RuntimeError, match="out of memory"), head.loss_of(targets):
            raise RuntimeError("out of memory")
        assert torch.equal(model(**inputs).logits, before)
        with head.loss_of(targets):
            assert model(**inputs).logits.shape == (2,)

    def test_blocks_inside_each_other_are_refused(self):
        head = install_loss_head(build("llama"))
        targets = torch.zeros(1, 2, dtype=torch.int64)
        with head.loss_of(targets), pytest.raises(RuntimeError, match="already open"), head.loss_of(targets):
            pass

    def test_targets_of_another_shape_are_named(self):
        model = build("llama")
        head = install_loss_head(model)
        with (
            pytest.raises(ValueError, match=r"targets are \(1, 3\)"),
            head.loss_of(torch.zeros(1, 3, dtype=torch.int64)),
        ):
            model(torch.ones(1, 2, dtype=torch.int64))

    @pytest.mark.parametrize("chunked", [True, False])
    def test_only_trained_positions_reach_the_matrix_product(self, chunked, monkeypatch):
        model = build("llama")
        inputs, _, targets = batch_for("llama", model)
        head = install_loss_head(model)
        original, rows = (linear_cross_entropy if chunked else plain_cross_entropy), []

        def spy(hidden, *args, **kwargs):
            rows.append(len(hidden))
            return original(hidden, *args, **kwargs)

        monkeypatch.setattr(f"kinnari.models.head.{original.__name__}", spy)
        with head.loss_of(targets, chunked=chunked):
            model(**inputs)
        assert rows == [count_trained(targets)]

    @pytest.mark.parametrize("chunked", [True, False])
    def test_batch_with_nothing_to_train_gives_zero_gradients_to_every_parameter(self, chunked):
        model = build("llama")
        inputs, _, targets = batch_for("llama", model)
        head = install_loss_head(model)
        with head.loss_of(torch.full_like(targets, -100), chunked=chunked):
            answer = model(**inputs).logits
        answer[0].backward()
        assert answer.tolist() == [0.0, 0.0]
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())

    def test_no_grad_gives_the_loss_alone(self):
        model = build("gemma2").eval()
        inputs, labels, targets = batch_for("gemma2", model)
        head = install_loss_head(model)
        with torch.no_grad(), head.loss_of(targets):
            answer = model(**inputs).logits
        assert not answer.requires_grad
        torch.testing.assert_close(answer[0], model(**inputs, labels=labels).loss.detach() * count_trained(targets))


class TestUnderStrategies:
    @pytest.mark.parametrize("family", ["llama", "gemma2", "t5"])
    def test_checkpointed_blocks_give_the_same_gradients(self, family):
        model = build(family)
        inputs, _, targets = batch_for(family, model)
        head = install_loss_head(model)
        with head.loss_of(targets):
            loss = model(**inputs).logits[0]
        expected = backward_gradients(model, loss)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        with head.loss_of(targets):
            loss = model(**inputs).logits[0]
        for name, gradient in backward_gradients(model, loss).items():  # blocks run again after the block is left
            torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)

    def test_weight_is_needed_inside_forward_alone(self):
        # what FSDP2 and ZeRO-3 do: fill the parameter before the forward and empty it afterwards
        model = build("llama")
        inputs, _, targets = batch_for("llama", model)
        head = install_loss_head(model)
        with head.loss_of(targets):
            expected = backward_gradients(model, model(**inputs).logits[0])
        full = head.weight.data.clone()
        head.weight.data.fill_(float("nan"))

        def gather(module, _):
            module.weight.data = full.clone()

        def free(module, *_):
            module.weight.data.fill_(float("nan"))

        head.register_forward_pre_hook(gather)
        head.register_forward_hook(free)
        with head.loss_of(targets):
            ours = backward_gradients(model, model(**inputs).logits[0])
        for name, gradient in expected.items():
            torch.testing.assert_close(ours[name], gradient)

    def test_autocast_keeps_the_loss_in_float32(self):
        model = build("llama")
        inputs, labels, targets = batch_for("llama", model)
        exact = model(**inputs, labels=labels).loss * count_trained(targets)
        head = install_loss_head(model)
        with torch.autocast("cpu", dtype=torch.bfloat16), head.loss_of(targets):
            answer = model(**inputs).logits
        assert answer.dtype == torch.float32
        assert answer[0].item() == pytest.approx(exact.item(), rel=0.02)

    @pytest.mark.parametrize("bits", [4, 8])
    def test_quantised_model_keeps_a_plain_head(self, bits, tmp_path):
        from transformers import BitsAndBytesConfig

        source = build("llama")
        source.save_pretrained(tmp_path)
        quantisation = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
        model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantisation, dtype=torch.float32)
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"])).train()
        inputs, labels, targets = batch_for("llama", model)
        expected = model(**inputs, labels=labels).loss * count_trained(targets)
        head = install_loss_head(model)
        with head.loss_of(targets):
            loss = model(**inputs).logits[0]
        torch.testing.assert_close(loss, expected.to(loss.dtype), rtol=1e-4, atol=1e-4)
        loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def fsdp2_gradient_errors() -> list[float]:
    """On two ranks, once with both ranks' rows trained and once with nothing to train on rank 1: largest difference of
    an FSDP2 gradient to the gradient of both rows in one process.
    """
    from torch import distributed

    distributed.init_process_group("gloo")
    errors = [fsdp2_gradient_error(trained_rows) for trained_rows in ([True, True], [True, False])]
    distributed.destroy_process_group()
    return errors


def fsdp2_gradient_error(trained_rows: list[bool]) -> float:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    reference, model = build("gemma2"), build("gemma2")
    inputs, _, targets = batch_for("gemma2", model)
    targets[~torch.tensor(trained_rows)] = -100
    with install_loss_head(reference).loss_of(targets, chunked=False):
        reference(**inputs).logits[0].backward()
    head = install_loss_head(model)
    for module in (*model.model.layers, model):
        fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    row = slice(distributed.get_rank(), distributed.get_rank() + 1)
    with head.loss_of(targets[row]):
        loss = model(input_ids=inputs["input_ids"][row], attention_mask=inputs["attention_mask"][row]).logits[0]
    (loss * 2).backward()  # FSDP2 averages over the two ranks
    pairs = zip(model.parameters(), reference.parameters(), strict=True)
    return max((sharded.grad.full_tensor() - full.grad).abs().max().item() for sharded, full in pairs)


@pytest.mark.slow
def test_sharded_by_fsdp2_the_gradients_are_those_of_one_process():
    from tests.distributed import run_ranks

    for errors in run_ranks(fsdp2_gradient_errors, 2):
        assert max(errors) < 1e-5
