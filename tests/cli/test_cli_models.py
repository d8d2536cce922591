"""`soundsearch models`: what is there, what it is, and making one of published weights."""

from __future__ import annotations

import json

from soundsearch.encoder.bundle import EncoderBundle
from tests.conftest import Run


def test_list_names_the_encoders_at_hand_and_skips_damaged_ones(
    soundsearch: Run, tiny: EncoderBundle
) -> None:
    broken = tiny.folder.parent / "broken"
    broken.mkdir()
    (broken / "bundle.json").write_text("{")
    result = soundsearch("models", "list")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["tiny", "starter"]
    assert lines[0][1:3] == ["1", "8-d"]
    assert result.stderr.startswith("skipped ") and "broken" in result.stderr
    rows = json.loads(soundsearch("models", "list", "--json").stdout)["models"]
    assert rows[0] == {
        "name": "tiny",
        "version": "1",
        "dim": 8,
        "description": "eight words for eight bands",
        "folder": str(tiny.folder),
    }


def test_show_tells_the_facts_and_checks_the_files(soundsearch: Run, tiny: EncoderBundle) -> None:
    shown = soundsearch("models", "show", "tiny").stdout
    assert tiny.fingerprint in shown and "kaldi-fbank" in shown and "made by the tests" in shown
    (tiny.folder / "audio.onnx").write_bytes(b"damaged")
    result = soundsearch("models", "show", "tiny", code=1)
    assert "damaged" in result.stderr and len(result.stderr.splitlines()) == 1
