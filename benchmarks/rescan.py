"""`soundsearch index` again over files that have not changed: how long until it says so.

Only names, sizes and times count for that, so the files are empty and the database is made up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.store import FileFacts, Indexed
from soundsearch.store.pinned import create_index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    bundle = find_bundle(options.model)
    embedding = np.eye(1, bundle.dim, dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        library, index = Path(scratch, "library").resolve(), Path(scratch, "index")
        store = create_index(index, bundle)
        with store.writer() as writer, writer.transaction() as changes:
            root = changes.add_root(library)
            for i in range(options.files):
                path = library / f"{i // 500:04d}" / f"{i:07d}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                mtime_ns = path.stat().st_mtime_ns
                file = FileFacts(root.id, str(path.relative_to(library)), 0, mtime_ns)
                recording = Indexed(file, b"", 1.0, 48_000, 1, "WAV", [(0.0, 1.0)], embedding)
                changes.put(recording)
        store.close()
        for _ in range(3):
            started = time.perf_counter()
            command = [sys.executable, "-m", "soundsearch", "index", str(library), "--json"]
            said = subprocess.run(
                [*command, "--index", str(index)], capture_output=True, check=True
            )
            unchanged = json.loads(said.stdout)["unchanged"]
            print(f"{unchanged:,} files unchanged: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
