"""File descriptors: a process may hold only so many, and whoever runs out of them says so in its own way.

SQLite cannot open its file, a folder cannot be listed, a recording cannot be read: all of them mean
that the limit is too low, which is said in one way here.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from soundsearch.errors import SoundsearchError

with suppress(ImportError):  # not a Unix
    import resource  # now: importing opens files

#: A database needs as many to be opened: itself, its log, the memory beside it, its folder.
TO_OPEN_A_DATABASE = 4
TOO_MANY = "too many open files"


def ran_out(error: BaseException | None) -> bool:
    """Whether this error, or one that it came from, says that no descriptor was left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
            return True  # the dynamic linker says so in words
        error = error.__cause__ or error.__context__
    return False


def n_free(at_most: int) -> int:
    """How many descriptors could be opened now, counted up to at_most; at_most if nobody can tell."""
    opened: list[int] = []
    try:
        while len(opened) < at_most:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if not ran_out(error):
            return at_most
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return len(opened)


def too_many(*, or_else: str = "") -> str:
    """One clause on what happened and the way out. or_else: another way out."""
    limit = ""
    with suppress(NameError):
        limit = f" (limit {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
    return f"{TOO_MANY}{limit}; raise it with ulimit -n{or_else}"


def stop_if_ran_out(error: Exception, *, or_else: str = "") -> None:
    """Raise SoundsearchError if no descriptor was left: no fault of the file that was to be opened.

    or_else: as of `too_many`.
    """
    if ran_out(error) or n_free(1) == 0:
        raise SoundsearchError(too_many(or_else=or_else)) from error
