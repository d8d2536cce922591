"""File descriptors: detect that a process has no more, and report it in one way.

Without a free descriptor SQLite cannot open its file, a folder cannot be listed, a recording cannot
be read, each with an error of its own. All of them mean that the limit is too low.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from soundsearch.errors import SoundsearchError

with suppress(ImportError):  # not a Unix
    import resource  # now: an import opens files

#: Descriptors that opening a database needs: database, log, shared memory, folder.
TO_OPEN_A_DATABASE = 4
TOO_MANY = "too many open files"


def ran_out(error: BaseException | None) -> bool:
    """Return whether this error, or a cause of it, is that no descriptor was free."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
            return True  # the dynamic linker has no error number
        error = error.__cause__ or error.__context__
    return False


def n_free(at_most: int) -> int:
    """Return how many descriptors are free, at most `at_most`; `at_most` if that is unknown."""
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
    """Return a clause on what happened and the way out. or_else: another way out."""
    limit = ""
    with suppress(NameError):
        limit = f" (limit {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
    return f"{TOO_MANY}{limit}; raise it with ulimit -n{or_else}"


def stop_if_ran_out(error: Exception, *, or_else: str = "") -> None:
    """Raise SoundsearchError if no descriptor is free, since then the file is not at fault.

    or_else: another way out, as for `too_many`.
    """
    if ran_out(error) or n_free(1) == 0:
        raise SoundsearchError(too_many(or_else=or_else)) from error
