"""`soundsearch index` again over files that have not changed: how long until it says so, and memory.

Only names, sizes and times count for that, so the files are empty and the database is made up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from processes import apart, busy_s, measured

from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.store import FileFacts, Indexed
from soundsearch.store.pinned import create_index
from soundsearch.store.statements import chunks

#: Files in a folder, and recordings stored in one transaction.
FILES_PER_FOLDER, STORED_AT_ONCE = 500, 1000


def make_library(library: Path, index: Path, model: str, n_files: int) -> None:
    """Empty files, and an index that knows them."""
    bundle = find_bundle(model)
    embedding = np.eye(1, bundle.dim, dtype=np.float32)
    with contextlib.closing(create_index(index, bundle)) as store, store.writer() as writer:
        with writer.transaction() as changes:
            root = changes.add_root(library)
        for some in chunks(range(n_files), STORED_AT_ONCE):
            made = []
            for i in some:
                path = library / f"{i // FILES_PER_FOLDER:04d}" / f"{i:07d}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                place = str(path.relative_to(library))
                file = FileFacts(root.id, place, 0, path.stat().st_mtime_ns)
                made.append(Indexed(file, b"", 1.0, 48_000, 1, "WAV", [(0.0, 1.0)], embedding))
            with writer.transaction() as changes:
                changes.put_all(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        library, index = Path(scratch, "library").resolve(), Path(scratch, "index")
        apart(make_library, library, index, options.model, options.files)
        command = [sys.executable, "-m", "soundsearch", "index", str(library), "--json"]
        for _ in range(options.runs):
            before = busy_s()
            seconds, peak, said = measured([*command, "--index", str(index)])
            unchanged = json.loads(said)["unchanged"]
            print(
                f"{unchanged:,} files unchanged: {seconds:.1f} s, {busy_s() - before:.1f} s of "
                f"processor time, {peak:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
