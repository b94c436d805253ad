"""The exceptions the command tells apart: a mistake the user can mend (status 2), a run that cannot go on, and a rank that has failed."""


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
