"""The one exception class of the library. It stands apart from the checks so that what runs without torch can raise it."""

__all__ = ["InpaintError"]


class InpaintError(ValueError):
    """Bad input: an argument or a file that a user of the library can put right."""
