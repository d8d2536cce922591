"""A storage in memory, as fsspec has it, with recordings in it."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import soundfile

from tests.sounds import Array


def memory() -> Any:
    return fsspec.filesystem("memory")


def wav(waveform: Array, sample_rate: int = 8000, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, sample_rate, format=kind)
    return file.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


def put(objects: Mapping[str, bytes]) -> None:
    """Put objects into the storage, by their URLs."""
    for url, content in objects.items():
        memory().pipe_file(url.removeprefix("memory:/"), content)


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The files of a folder at an address of this machine; parts of them too."""
    handler = functools.partial(_Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if part is None or not path.is_file():
            super().do_GET()
            return
        whole = path.read_bytes()
        content = whole[int(part[1]) : int(part[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {part[1]}-{part[2]}/{len(whole)}")
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


def sawtooth(hz: float, seconds: float = 1.0, sample_rate: int = 8000) -> Array:
    """A sound whose samples differ all along, so that a lost one is seen."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * (2 * ((hz * time) % 1) - 1)).astype(np.float32)
