"""Files that want to do harm, or are merely broken: each is one change to a file that would be read.

``CASES`` maps a name to a function that returns a file's content and suffix, and to the words that its refusal must
hold. ``HARMLESS`` are odd files whose networks are whole. Both functions get the path of a canary: a file that appears
if anything in a case is run.
"""

from . import bombs, files, objects, running, values  # noqa: F401 (they fill the table)
from .assembler import pickled, storage_file
from .forge import CASES, HARMLESS, legacy_of, safetensors_of, snapshot, state, zip_of

__all__ = ["CASES", "HARMLESS", "legacy_of", "pickled", "safetensors_of", "snapshot", "state", "storage_file", "zip_of"]
