"""What is loaded when: checked in fresh interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soundsearch.encoder.bundle import EncoderBundle
from tests import sounds
from tests.conftest import ROOT
from tests.tiny_encoder import BAND_HZ, WORDS

HEAVY = {"torch", "faiss", "onnxruntime", "sqlalchemy", "av", "soundfile", "soxr", "tokenizers"}
#: Of the server, which `serve` alone loads.
SERVER = {"starlette", "uvicorn", "anyio", "h11", "python_multipart", "multiprocessing"}
TRAINING = {"torch", "torchaudio", "torchvision", "transformers", "open_clip", "onnx", "trainer"}


#: What of `soundsearch.audio` a query in words needs: the facts of a bundle.
FOR_WORDS = {f"soundsearch.audio{name}" for name in ("", ".features", ".mel_banks", ".windows")}


def _loaded(*command: str) -> tuple[set[str], str]:
    """Top-level modules that a fresh interpreter loads, and what it prints."""
    modules, printed = _all_loaded(*command)
    return {module.split(".")[0] for module in modules}, printed


def _all_loaded(*command: str) -> tuple[set[str], str]:
    """Modules that a fresh interpreter loads, by their whole names, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rsplit("|", 1)[1].strip() for line in lines}
    assert "os" in modules or "site" in modules  # the lines are understood
    return modules, done.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["query", "--help"], ["serve", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    modules, printed = _loaded("-m", "soundsearch", *arguments)
    assert "soundsearch" in modules and "soundsearch" in printed
    assert modules & (HEAVY | TRAINING | SERVER) == set()


@pytest.mark.parametrize("statement", ["import soundsearch", "import soundsearch.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    modules, _ = _loaded("-c", statement)
    assert "soundsearch" in modules
    assert modules & (HEAVY | TRAINING | {"numpy"}) == set()


def test_indexing_and_searching_never_load_torch(tmp_path: Path, tiny: EncoderBundle) -> None:
    for word, hz in zip(WORDS, BAND_HZ, strict=True):
        sounds.write(tmp_path / "sounds" / f"{word}.wav", sounds.tone(hz, 1.5))
    assert os.environ["SOUNDSEARCH_INDEX"] == str(tmp_path / "index")

    indexing, _ = _loaded("-m", "soundsearch", "index", "sounds", "--model", "tiny")
    searching, printed = _loaded("-m", "soundsearch", "query", "hiss", "--json")

    assert {"faiss", "onnxruntime", "sqlalchemy"} <= indexing & searching
    assert (indexing | searching) & TRAINING == set()
    assert searching & SERVER == set()
    assert json.loads(printed)["hits"][0]["path"].endswith("hiss.wav")


def test_a_query_in_words_loads_no_decoder(tmp_path: Path, tiny: EncoderBundle) -> None:
    sounds.write(tmp_path / "sounds" / "hiss.wav", sounds.tone(BAND_HZ[0], 1.5))
    indexing, _ = _all_loaded("-m", "soundsearch", "index", "sounds", "--model", "tiny")
    lists = ["--csv", "a.csv", "--m3u", "a.m3u8", "--labels", "a.txt", "--copy-to", "copies"]
    searching, printed = _all_loaded("-m", "soundsearch", "query", "hiss", "--json", *lists)

    assert len(json.loads(printed)["hits"]) == 1
    of_audio = {name for name in searching if name.startswith("soundsearch.audio")}
    assert of_audio == FOR_WORDS < indexing
    assert searching & {"av", "soundfile", "soxr"} == set()
    assert {"soundfile", "soundsearch.audio.recording"} <= indexing


def test_a_query_loads_no_other_command() -> None:
    script = (
        "import sys; from soundsearch.cli import app\n"
        "try: app(['query', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('soundsearch.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.removeprefix("soundsearch.cli.") for name in eval(done.stdout.splitlines()[-1])}
    assert loaded == {
        *("compound_options", "hit_options", "options", "questions", "search", "streams")
    }


def test_tests_outside_of_the_trainer_load_without_torch() -> None:
    """What `make test-search` runs."""
    script = (
        "import sys, pytest\n"
        f"sys.modules |= dict.fromkeys({sorted(TRAINING - {'onnx', 'trainer'})})\n"
        "sys.exit(pytest.main(['--collect-only', '-qq', '-p', 'no:cacheprovider']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "tests/test_imports.py" in done.stdout and "tests/trainer/" not in done.stdout
    assert "tests/recipes/" not in done.stdout
