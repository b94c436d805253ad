"""The coefficient of the KL penalty: fixed, or steered so that the policy keeps a set distance from its reference.

    error = clip(kl / target - 1, -0.2, 0.2),   coefficient *= 1 + error * sequences / horizon

Source: Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", arXiv 1909.08593, section 2.2; horizon as in the code
that came with it (openai/lm-human-preferences).
"""

from typing import Any, Protocol

LARGEST_ERROR = 0.2


class KLController(Protocol):
    """What PPO asks for the coefficient."""

    coefficient: float

    def update(self, kl: float, sequences: int) -> None:
        """Tell the mean KL of whole answers (nats, summed over tokens) and over how many answers of all ranks it was taken."""

    def state_dict(self) -> dict[str, float]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class FixedKL:
    """The same coefficient throughout.

    Raises:
        ValueError: a negative coefficient, which would reward leaving the reference.
    """

    def __init__(self, coefficient: float) -> None:
        self.coefficient = _checked(coefficient)

    def update(self, kl: float, sequences: int) -> None:
        """Changes nothing."""

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.coefficient = float(state["coefficient"])


class AdaptiveKL:
    """Raises the coefficient while the KL is above its target and lowers it while it is below, by at most 20 % per `horizon` answers.

    Args:
        coefficient: at the beginning.
        target: KL of a whole answer to keep to, nats.
        horizon: answers over which the coefficient may change by the error.

    Raises:
        ValueError: a negative coefficient, or a target or horizon that is not above 0.
    """

    def __init__(self, coefficient: float = 0.1, target: float = 6.0, horizon: float = 10_000) -> None:
        if not target > 0 or not horizon > 0:
            raise ValueError(f"target={target}, horizon={horizon}: both must be above 0; 6 and 10000 are usual")
        self.coefficient, self.target, self.horizon = _checked(coefficient), target, horizon

    def update(self, kl: float, sequences: int) -> None:
        """One step. A KL that is no number leaves the coefficient as it is: that the run has broken is for others to say."""
        error = kl / self.target - 1
        if error == error:
            # never through 0: a batch of more answers than the horizon allows for would turn the penalty's sign
            self.coefficient *= max(0.0, 1 + min(max(error, -LARGEST_ERROR), LARGEST_ERROR) * sequences / self.horizon)

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.coefficient = float(state["coefficient"])


def _checked(coefficient: float) -> float:
    if not coefficient >= 0:
        raise ValueError(f"coefficient={coefficient} of the KL penalty must be 0 or more")
    return float(coefficient)
