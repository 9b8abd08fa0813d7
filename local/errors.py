"""The one error that a user of the local stack sees."""


class LocalStackError(Exception):
    """Something outside this program stops the local stack; the message says what, and what to do about it."""
