"""The one exception class of the library, apart from the checks: what runs without torch can raise it too."""

__all__ = ["InpaintError"]


class InpaintError(ValueError):
    """Bad input: an argument or a file that a user of the library can put right."""
