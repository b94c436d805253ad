"""The one exception that means "the user can fix this"; the command prints it as a paragraph and exits with status 2."""


class ConfigError(ValueError):
    """A setting, file or combination the user chose cannot work. The message names the value, the rule and the remedy."""
