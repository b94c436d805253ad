"""A picture of one training run, from what it logged: the loss of every step and the held-out loss between them.

python launch.py output_dir=outputs/picture trainer.validate_every_n_steps=8
python benchmarks/training_picture.py outputs/picture docs/images/training.svg
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Curves:
    """What a run logged.

    Attributes:
        training: (step, loss of that step in nats a token), from 1.
        held_out: (step, loss over the held-out records), from step 0, before training.
        title: one line: parameters, steps, tokens a second, peak memory.
    """

    training: list[tuple[int, float]]
    held_out: list[tuple[int, float]]
    title: str


def read_curves(run: Path) -> Curves:
    """The curves of a finished run of task=sft with logger=tensorboard.

    Args:
        run: its output folder.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    logged = {scalar.step: scalar.value for scalar in events.Scalars("val/loss")}
    # The logger counts steps from 0: what stands at 7 was measured after the eighth.
    between = [(step + 1, loss) for step, loss in sorted(logged.items()) if step + 1 < result["steps"]]
    held_out = [(0, result["val/loss_before"]), *between, (result["steps"], result["val/loss_after"])]
    title = (
        f"{result['total_parameters'] / 1e6:.0f} M parameters, {result['trainable_parameters'] / 1e6:.1f} M trained, "
        f"{result['steps']} steps in {result['seconds'] / 60:.0f} min, {result['peak_memory_gib']:.1f} GiB"
    )
    return Curves([(i + 1, loss) for i, loss in enumerate(result["loss_curve"])], held_out, title)


def draw(curves: Curves, file: Path) -> None:
    """Write the picture as svg; the same curves give the same bytes."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    settings = {"svg.hashsalt": "kinnari", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
        axes.plot(*zip(*curves.training, strict=True), color="#b39ddb", linewidth=1.2, label="training, each step")
        axes.plot(*zip(*curves.held_out, strict=True), color="#4527a0", marker="o", label="held out")
        for step, loss in (curves.held_out[0], curves.held_out[-1]):
            axes.annotate(f"{loss:.2f}", (step, loss), textcoords="offset points", xytext=(4, 8), color="#4527a0")
        axes.set(xlabel="optimizer step", ylabel="loss, nats a token", title=curves.title)
        axes.legend(frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(read_curves(arguments.run), arguments.picture)


if __name__ == "__main__":
    main()
