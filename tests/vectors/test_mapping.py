from __future__ import annotations

import os
from pathlib import Path

import pytest

from soundsearch.vectors import mapping


@pytest.mark.parametrize(
    ("kind", "expected"), [("ext4", True), ("nfs4", False), ("cifs", False), ("fuse.sshfs", False)]
)
def test_network_disks_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: bool
) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"")
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mapping, "MOUNTS", table)
    table.write_text(f"1 0 {number} / / rw - {kind} /dev/sda rw\n2 1 0:99 / /proc rw - proc p rw\n")
    assert mapping.can_be_mapped(path) is expected
    # Where files have other devices than their mount, the nearest mount around counts.
    escaped = str(tmp_path).replace(" ", "\\040")
    table.write_text(f"1 0 0:98 / / rw - proc p rw\n2 1 0:99 / {escaped} rw - {kind} x rw\n")
    assert mapping.can_be_mapped(path) is expected
    table.unlink()
    assert not mapping.can_be_mapped(path)
