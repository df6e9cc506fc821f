"""Failures that a person can do something about. Each knows its exit code and says the next step."""


class RuntimeFailure(Exception):
    """Something that stops the command. The message ends with what to do next."""

    exit_code = 1


class UsageError(RuntimeFailure):
    """A setting or an argument that makes no sense."""

    exit_code = 2


class Unreachable(RuntimeFailure):
    """A server that must be there is not."""

    exit_code = 3


class AlreadyRunning(RuntimeFailure):
    """This data directory or this port is in use."""

    exit_code = 4
