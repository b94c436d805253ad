"""CausalLMSFT and Seq2SeqSFT against transformers' own loss."""

import pytest
import torch

from kinnari.models.load import load_model
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose
from kinnari.text.batches import collate_causal, collate_seq2seq
from kinnari.text.records import Tokens, flatten
from lightning_modules import CausalLMSFT, Seq2SeqSFT


@pytest.fixture(scope="module")
def records():
    """Three records of 20, 9 and 14 tokens; in the second only the last token is trained."""
    generator = torch.Generator().manual_seed(0)
    tokens = []
    for length, prompt in ((20, 7), (9, 8), (14, 2)):
        ids = torch.randint(0, 256, (length,), generator=generator).tolist()
        tokens.append(Tokens(ids, [i >= prompt for i in range(length)]))
    return flatten(tokens, ["r:0", "r:1", "r:2"], ["s"] * 3, {})


def load(name):
    spec = model_spec(compose([f"model={name}"]))
    return spec, load_model(spec, dtype=torch.float32)


@pytest.fixture(scope="module")
def causal():
    spec, model = load("tiny_causal")
    return CausalLMSFT(model, packing=spec.packing)


@pytest.fixture(scope="module")
def seq2seq():
    return Seq2SeqSFT(load("tiny_seq2seq")[1])


def transformers_sum(model, records, record):
    """Summed loss of one record, alone in its row, by transformers itself."""
    ids, trained = (torch.from_numpy(a).long()[None] for a in records[record])
    labels = ids.masked_fill(~trained.bool(), -100)
    with torch.no_grad():
        return float(model(input_ids=ids, labels=labels).loss) * int(trained.sum())


@pytest.mark.parametrize("rows", [((0,), (1,), (2,)), ((0, 1, 2),), ((2, 0), (1,))], ids=["a row each", "one row", "two rows"])
def test_a_batch_has_the_summed_loss_of_its_records_however_they_are_packed(causal, records, rows):
    expected = sum(transformers_sum(causal.model, records, r) for r in range(3))
    packed = max(map(len, rows)) > 1

    nll_sum, _ = causal(collate_causal(rows, records, pad_id=0, packed=packed, step_tokens=26))

    assert float(nll_sum) == pytest.approx(expected, rel=1e-5)


def test_seq2seq_trains_the_target_on_the_source(seq2seq, records):
    expected = 0.0
    for record in range(3):
        ids, trained = records[record]
        source, target = (torch.from_numpy(ids[flags]).long()[None] for flags in (~trained, trained))
        with torch.no_grad():
            expected += float(seq2seq.model(input_ids=source, labels=target).loss) * target.numel()

    nll_sum, _ = seq2seq(collate_seq2seq(((0,), (1,), (2,)), records, pad_id=0, step_tokens=26))

    assert float(nll_sum) == pytest.approx(expected, rel=1e-5)


def test_an_empty_micro_batch_has_zero_loss_and_zero_gradients(causal, records):
    batch = collate_causal((), records, pad_id=0, packed=True, step_tokens=26)

    loss = causal(batch)[0]
    loss.backward()

    assert float(loss) == 0.0
    gradients = [p.grad for p in causal.parameters() if p.grad is not None]
    assert gradients and all(float(g.abs().sum()) == 0.0 for g in gradients)
    causal.zero_grad(set_to_none=True)


def test_right_predictions_are_counted_over_trained_positions(causal, records):
    batch = collate_causal(((0,),), records, pad_id=0, packed=False, step_tokens=13)
    with torch.no_grad():
        logits = causal.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = int((logits[0, 6:19].argmax(-1) == batch["input_ids"][0, 7:20]).sum())

    assert int(causal(batch)[1]) == expected


def test_fitting_puts_the_model_into_train_mode(causal):
    causal.model.eval()

    causal.on_fit_start()

    assert all(module.training for module in causal.model.modules())
