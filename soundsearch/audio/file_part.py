"""A part of a file, read as if it were a file of its own."""

from __future__ import annotations

import io
from typing import BinaryIO


class FilePart(io.RawIOBase):
    """A header, if one is given, and the bytes of an opened file from begin to end, for reading.

    The file stays open. Others may read it in turn, not at the same time.

    Args:
        file: The whole file.
        begin: Its first byte that belongs to the part.
        end: One behind the last byte, None for the end of the file.
        header: Bytes in front of those.
    """

    def __init__(
        self, file: BinaryIO, begin: int, end: int | None = None, header: bytes = b""
    ) -> None:
        super().__init__()
        self._file, self._header = file, header
        self._begin = begin
        end = file.seek(0, io.SEEK_END) if end is None else end
        self._size = len(header) + max(0, end - begin)
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def tell(self) -> int:
        """The place within the part."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file. Raises ValueError for a place before the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"cannot seek to {offset} (whence {whence})")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes; returns how many. Raises OSError."""
        wanted = max(0, min(len(buffer), self._size - self._place))
        found = self._header[self._place : self._place + wanted]
        if not found and wanted:
            self._file.seek(self._begin + self._place - len(self._header))
            found = self._file.read(wanted)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)
