"""Live bytes of small sums that can be done by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from kinnari.planning.live_bytes import LiveBytes


def test_the_peak_is_what_lives_at_once_and_views_weigh_nothing():
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a.view(10, 100)[2:]
        c = a + 1
        del a, c
        assert live.total == 4000, "the view keeps the storage of a"
        torch.zeros(500)
        del b
    assert live.total == 0
    assert live.peak() == 8000


def test_every_kind_is_told_apart_and_gradients_follow_their_parameters():
    layer = nn.Linear(8, 4, bias=False)
    live = LiveBytes()
    live.hold(layer, lambda name: "weights")
    with live:
        with live.part("forward", "activations"):
            out = layer(torch.ones(2, 8))
        live.is_backward = True
        with live.part("backward", "temporaries"):
            out.sum().backward()
    assert live.now["weights"] == live.now["gradients"] == 4 * 32
    assert live.peaks["forward"]["activations"] == 4 * (2 * 8 + 2 * 4)
    assert live.peaks["forward"]["gradients"] == 0


def test_each_part_keeps_the_highest_of_its_moments():
    with LiveBytes() as live:
        for size in (10, 30, 20):
            with live.part("forward", "activations"):
                torch.zeros(size)
    assert live.peaks["forward"]["activations"] == 120


def test_operations_are_those_of_torchs_own_counter():
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    with FlopCounterMode(display=False) as theirs:
        model(torch.ones(4, 16)).sum().backward()
    with LiveBytes() as live:
        model(torch.ones(4, 16)).sum().backward()
    assert sum(live.flops.values()) == theirs.get_total_flops() == 4 * (2 * 2 * 16 * 32 + 3 * 2 * 32 * 8)


def test_a_product_with_packed_weights_counts_what_happens_inside_of_it():
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(torch.randn(64, 128), quant_type="nf4")
    live = LiveBytes()
    with live, torch.no_grad():
        torch.ops.bitsandbytes.gemm_4bit.default(torch.ones(3, 128), packed.view(-1, 1), state.shape, state.absmax, 64, "nf4")
    assert sum(live.flops.values()) == 2 * 3 * 64 * 128
    assert live.peak() >= 4 * 64 * 128, "the expanded weight was there for a moment"


def test_the_peak_is_that_of_torchs_own_tracker():
    def peak(tracker, model) -> int:
        with tracker:
            model(torch.ones(16, 32)).pow(2).sum().backward()
        return tracker.peak() if isinstance(tracker, LiveBytes) else tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 8))

    live, theirs = LiveBytes(), MemTracker()
    ours, other = model(), model()
    live.hold(ours, lambda name: "weights")
    theirs.track_external(other)
    assert peak(live, ours) == peak(theirs, other)
