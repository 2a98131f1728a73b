"""The explorer: a mask painted over a face, wishes, and completions that appear while they are searched for."""
