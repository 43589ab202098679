"""The one way in which a suite says that it cannot run here."""


class Skip(Exception):
    """A peer, a data file or a right that the suite needs is not there."""
