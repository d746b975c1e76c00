"""Every error that slosched raises on purpose."""


class SloschedError(Exception):
    """Base of all slosched errors; its text is one line that a user can act on."""


class ConfigError(SloschedError):
    """The configuration is wrong: the text starts with file, line and column."""


class TraceError(SloschedError):
    """A trace file cannot be read: the text starts with file and line."""


class TagError(SloschedError):
    """A request's SLO tag is malformed or names an unknown class.

    Parameters
    ----------
    source
        The header or body field at fault, as the client spelled it.
    reason
        What is wrong with it and what would be right.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source


class PlanError(SloschedError):
    """A policy returned something that is no plan for the snapshot it was given."""


class EngineError(SloschedError):
    """The inference engine could not be started, or ended by itself."""


class ServerError(SloschedError):
    """A server that is to be measured cannot be reached, or is none that can be."""


class ModelError(SloschedError):
    """A length predictor's model cannot be read, made, or used with this encoder."""
