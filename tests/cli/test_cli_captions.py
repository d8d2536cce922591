"""`index --captions`, and what `query` and `show` make of captions and of UCS names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import soundsearch as package
from soundsearch.errors import QueryError
from soundsearch.tables import TableError
from tests.conftest import Run
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

SLAM = "DOORMetl-INT_Cell-Slam 02_TN_DORY.wav"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A recording with a UCS name, two with plain ones, and captions of one of these."""
    folder = tmp_path / "library"
    for name, hz in zip((SLAM, "a.wav", "b.wav"), BAND_HZ, strict=False):
        write(folder / name, tone(hz))
    (tmp_path / "captions.csv").write_text("file,text,mood\na.wav,rain on a tent,calm\n")
    return folder


def first(soundsearch: Run, question: str) -> tuple[str, list[str]]:
    """Name and words of the first hit by words."""
    done = soundsearch("query", question, "--by", "words", "--json", "-k", 1)
    (hit,) = json.loads(done.stdout)["hits"]
    return Path(hit["path"]).name, hit["words"]


def test_a_ucs_name_is_found_by_its_category_and_shown(soundsearch: Run, library: Path) -> None:
    soundsearch("index", library)
    assert first(soundsearch, "metal doors") == (SLAM, ["door", "metal"])
    recording = json.loads(soundsearch("show", library / SLAM, "--json").stdout)["recording"]
    assert recording["ucs"] == {
        "cat_id": "DOORMetl", "category": "DOORS", "subcategory": "METAL", "user_category": "INT",
        "vendor_category": "Cell", "fx_name": "Slam 02", "creator_id": "TN", "source_id": "DORY",
        "user_data": "",
    }  # fmt: skip
    assert recording["words"]["metadata"] == ["DOORS", "METAL"]
    lines = soundsearch("show", library / SLAM).stdout.splitlines()
    blocks = [line.removeprefix("UCS name").strip() for line in lines if "UCS name" in line]
    assert blocks[:3] == ["cat_id: DOORMetl", "category: DOORS", "subcategory: METAL"]
    assert len(blocks) == 8
    other = json.loads(soundsearch("show", library / "a.wav", "--json").stdout)["recording"]
    assert other["ucs"] is None and "UCS" not in soundsearch("show", library / "a.wav").stdout


def test_captions_are_found_shown_kept_and_taken_away(soundsearch: Run, library: Path) -> None:
    report = json.loads(
        soundsearch("index", library, "--captions", "captions.csv", "--json").stdout
    )
    assert (report["captioned"], report["uncaptioned"], report["unmatched_captions"]) == (1, 0, [])
    assert first(soundsearch, "a tent") == ("a.wav", ["tent"])
    soundsearch("index", library, "--force")
    recording = json.loads(soundsearch("show", library / "a.wav", "--json").stdout)["recording"]
    assert recording["captions"] == {"text": "rain on a tent", "mood": "calm"}
    assert recording["metadata"] == {}
    lines = soundsearch("show", library / "a.wav").stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("captions")] == [
        "text: rain on a tent",
        "mood: calm",
    ]
    done = soundsearch("index", "--no-captions")
    assert "now: 0, taken from 1" in done.stderr
    assert json.loads(soundsearch("query", "tent", "--by", "words", "--json").stdout)["hits"] == []


def test_rows_that_name_no_recording_take_one_line(soundsearch: Run, library: Path) -> None:
    rows = "".join(f"no{i}.wav,x\n" for i in range(5))
    Path("captions.csv").write_text(f"file,text\na.wav,rain\n{rows}")
    done = soundsearch("index", library, "--captions", "captions.csv")
    (line,) = [line for line in done.stderr.splitlines() if "no recording" in line]
    for fact in ("5", "no0.wav, no1.wav, no2.wav and 2 more", "relative", "absolute"):
        assert fact in line


def test_bad_captions_are_refused_before_anything_is_made(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    Path("captions.csv").write_text("name,text\na.wav,rain\n")
    for options in ([], ["--dry-run"]):
        done = soundsearch("index", library, "--captions", "captions.csv", *options, code=1)
        (line,) = done.stderr.splitlines()
        assert "captions.csv" in line and "file" in line and "name" in line
    assert "gone.csv" in soundsearch("index", library, "--captions", "gone.csv", code=1).stderr
    both = soundsearch("index", library, "--captions", "captions.csv", "--no-captions", code=2)
    assert "--no-captions" in both.stderr
    assert not (tmp_path / "index").exists()


@pytest.mark.usefixtures("tiny")
def test_captions_from_python(library: Path) -> None:
    report = package.index_folders(library, model="tiny", captions="captions.csv")
    assert report.n_captioned == 1
    with package.open_index() as index:
        (hit,) = index.search(text="tent", by="words")
        assert hit.path == library / "a.wav"
        details = index.show(library / SLAM)
        assert details.recording.ucs is not None and details.recording.ucs.category == "DOORS"
    assert package.index_folders(library, no_captions=True).n_uncaptioned == 1
    with pytest.raises(QueryError, match="no_captions"):
        package.index_folders(library, captions="captions.csv", no_captions=True)
    with pytest.raises(QueryError, match="captions"):
        package.index_folders(library, captions=3)  # type: ignore[arg-type]
    with pytest.raises(TableError, match=r"gone\.csv"):
        package.index_folders(library, captions="gone.csv")
