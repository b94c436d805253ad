"""The exceptions the command tells apart: a mistake the user can mend (status 2), a run that cannot go on, and a rank that has failed."""

import math


class ConfigError(ValueError):
    """A setting, file or combination the user chose cannot work. The message names the value, the rule and the remedy."""


class RunStopped(RuntimeError):
    """The run cannot go on for a reason outside the program: numbers, a full disk. The message says all; no traceback, status 1.

    Attributes:
        measured: what result.json says beside the message.
    """

    def __init__(self, message: str, **measured: object) -> None:
        super().__init__(message)
        self.measured: dict[str, object] = dict(measured)


class ExportRejected(RunStopped):
    """Written weights do not compute what was trained, so they were not kept."""


class RankFailed(RuntimeError):
    """A process of the run ended with an error, which it has told in its own log.

    Attributes:
        status: exit status of the command; 2 where the rank met a mistake in the configuration.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"a rank ended with status {status}; what it said stands above and in logs/ of the output folder")
        self.status = status


def need_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    null: str | None = None,
    why: str = "",
) -> None:
    """One check for every setting that is a number: texts, truth values, NaN and infinities are none.

    Args:
        name: as the user writes it, such as ppo.clip.
        least, above, most, below: bounds; None for none.
        whole: only whole numbers will do.
        null: what null means where it is allowed; None where it is not.
        why: ends the message: the reason, or what a bound does.

    Raises:
        ConfigError: with the value, the rule and the reason.
    """
    if value is None and null is not None:
        return
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]
    number = float(value) if right else 0.0  # type: ignore[arg-type]
    within = ((least, number.__ge__), (above, number.__gt__), (most, number.__le__), (below, number.__lt__))
    if right and all(bound is None or holds(float(bound)) for bound, holds in within):
        return
    bounds = (("at least", least), ("above", above), ("at most", most), ("below", below))
    rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    shown = "null" if value is None else value
    or_null = "" if null is None else f", or null for {null}"
    raise ConfigError(
        f"{name}={shown} must be a {'whole ' if whole else ''}number{' ' if rule else ''}{rule}{or_null}{'; ' if why else ''}{why}."
    )


def need_truth(name: str, value: object) -> None:
    """Raises ConfigError for anything but true and false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={'null' if value is None else value} must be true or false.")
