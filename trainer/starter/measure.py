"""The numbers of a finished bundle, as `soundsearch bench` computes them, each with its command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soundsearch.benchmarks.datasets import read_manifest
from soundsearch.benchmarks.embedding_cache import EmbeddingCache
from soundsearch.benchmarks.protocols import PROTOCOLS
from soundsearch.benchmarks.run import Settings, run_benchmark
from soundsearch.encoder import Encoder
from trainer.data.manifests import ESC10, SOUNDS

SPLIT = "valid"
PROTOCOL = "literature"
#: What is measured: a title, the manifest, what is asked, and what the command says besides.
MEASURED = (
    ("captions", SOUNDS, "caption", " --merge-identical-captions"),
    ("labels of ESC-10", ESC10, "label", ""),
)


def measure(encoder: Encoder, data: Path) -> dict[str, dict[str, Any]]:
    """For each title its command, and shares between 0 and 1 (ranks from 1) by name.

    data: the folder of sounds.csv and esc10.csv. A recording that cannot be used is left out, and
    counted. Raises BenchmarkError.
    """
    found = {}
    for title, manifest, ask, more in MEASURED:
        settings = Settings(
            protocol=PROTOCOLS[PROTOCOL], merge_identical=ask == "caption", allow_missing=True
        )
        asked = read_manifest(data / manifest, split=SPLIT, ask=ask)
        with EmbeddingCache(None, encoder) as cache:
            result = run_benchmark(encoder, asked, settings, cache)
        found[title] = {
            "command": f"soundsearch bench manifest DATA/{manifest} --split {SPLIT} --ask {ask}{more}",
            "split": SPLIT,
            "recordings": result.n_clips,
            **{
                f"{direction.name} {name}": round(number.value, 4)
                for direction in result.directions
                for name, number in direction.numbers.items()
            },
        }
    return found
