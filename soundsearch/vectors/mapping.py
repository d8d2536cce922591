"""Whether a file can be mapped into memory without danger."""

from __future__ import annotations

import os
from pathlib import Path

#: Where Linux lists what is mounted where, and the open files of a process.
MOUNTS, OPEN_FILES = Path("/proc/self/mountinfo"), Path("/proc/self/fd")
#: Disks of this machine, of which nobody else takes a part away.
LOCAL_DISKS = frozenset([
    *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "ntfs3"),
    *("overlay", "reiserfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs"),
])  # fmt: skip


def can_be_mapped(path: Path) -> bool:
    """Return whether a file lies on a disk of this machine; False where that cannot be determined.

    A mapped file on a network disk, or on a disk that is taken away, ends the process when it can no
    longer be read.
    """
    try:
        device = os.stat(path).st_dev
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    kinds = [_kind_of(line) for line in lines if line.split(" ")[2] == wanted]
    if not kinds:  # such as btrfs, whose files have devices of their own
        kinds = [_kind_of(line) for line in _around(path, lines)]
    return bool(kinds) and all(kind in LOCAL_DISKS for kind in kinds)


def _kind_of(line: str) -> str:
    """The kind of file system that a line of mountinfo says."""
    return line.partition(" - ")[2].split(" ")[0]


def _around(path: Path, lines: list[str]) -> list[str]:
    """The line of the mount that a path lies in, if any."""
    places = {line.split(" ")[4]: line for line in lines}  # the last of one place counts
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        escaped = os.fspath(place).replace("\\", "\\134").replace(" ", "\\040")
        if escaped in places:
            return [places[escaped]]
    return []
