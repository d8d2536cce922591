"""What the file system says of a file, as a database can hold it.

Everybody who stores or compares the size and time of a file takes them from here, so that what was
stored is what is found again.
"""

from __future__ import annotations

import os

#: The largest number in a column of SQLite; of nanoseconds, the year 2262.
LARGEST = 2**63 - 1


def facts_of(stat: os.stat_result) -> tuple[int, int]:
    """Size in bytes and time of change in ns, each the nearest that 64 bits with a sign can hold."""
    return _fitted(stat.st_size), _fitted(stat.st_mtime_ns)


def _fitted(number: int) -> int:
    return max(-LARGEST - 1, min(LARGEST, number))
