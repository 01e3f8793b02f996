"""The error of work that cannot go on; rows and media have their own (`schema`)."""


class RunError(RuntimeError):
    """A stage cannot go on; the message says what to do."""
