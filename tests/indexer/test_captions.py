"""Captions beside a library: which recordings they name, how long they stay, what is refused.

And words that an earlier run left stale.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from indexer.captions import read_captions
from indexer.report import Report
from soundsearch.tables import TableError
from tests.indexer.conftest import Indexer
from tests.sounds import tone, write
from tests.tiny_encoder import BAND_HZ

NAMES = ("low.wav", "deep/high.wav", "deep/Vögel.wav")


@pytest.fixture
def sounds(library: Path) -> Path:
    for name, hz in zip(NAMES, BAND_HZ, strict=False):
        write(library / name, tone(hz))
    return library


def run(indexer: Indexer, *paths: Path, csv: str | None = None, **options: Any) -> Report:
    """Index the library with this table of captions."""
    table = indexer.folder.parent / "captions.csv"
    if csv is not None:
        table.write_text(csv, encoding="utf-8")
        options["captions"] = read_captions(table)
    return indexer.run(*paths, **options)


def captions(indexer: Indexer) -> dict[str, dict[str, str]]:
    """What is stored, by path relative to the library."""
    with indexer.store.snapshot() as reader:
        texts = reader.captions()
        return {r.relative_path: texts[r.id] for r in reader.recordings() if r.id in texts}


def found(indexer: Indexer, term: str) -> list[str]:
    with indexer.store.snapshot() as reader:
        paths = {r.id: r.relative_path for r in reader.recordings()}
        matches = reader.find_words([term], limit=9)
    return [paths[match.recording_id] for match in matches]


@pytest.mark.usefixtures("sounds")
def test_captions_add_words_and_fields_and_nothing_is_embedded_again(indexer: Indexer) -> None:
    indexer.run()
    before = indexer.rows()
    report = run(
        indexer, csv="file,text,mood\nlow.wav,a hum in a cellar,grim\ndeep/high.wav,,calm\n"
    )
    assert (report.n_captioned, report.n_uncaptioned, report.unmatched_captions) == (2, 0, [])
    assert report.n_unchanged == 3 and report.n_windows == 0 and indexer.rows() == before
    assert captions(indexer) == {
        "low.wav": {"text": "a hum in a cellar", "mood": "grim"},
        "deep/high.wav": {"mood": "calm"},
    }
    assert found(indexer, "cellars") == found(indexer, "grim") == ["low.wav"]
    assert found(indexer, "calm") == ["deep/high.wav"]


@pytest.mark.usefixtures("sounds")
def test_new_recordings_get_their_captions_in_the_same_run(indexer: Indexer) -> None:
    run(indexer, csv="file;text\nlow.wav;hum\n")
    assert found(indexer, "hum") == ["low.wav"]


def test_captions_survive_runs_changes_and_moves_and_go_when_they_are_left_out(
    indexer: Indexer, sounds: Path
) -> None:
    run(indexer, csv="file,text\nlow.wav,hum\ndeep/high.wav,squeal\n")
    write(sounds / "low.wav", tone(BAND_HZ[5]))
    (sounds / "deep" / "high.wav").rename(sounds / "moved.wav")
    report = indexer.run()
    assert (report.n_changed, report.n_moved, report.n_captioned) == (1, 1, 0)
    assert captions(indexer) == {"low.wav": {"text": "hum"}, "moved.wav": {"text": "squeal"}}
    assert found(indexer, "squeal") == found(indexer, "moved") == ["moved.wav"]
    assert found(indexer, "deep") == ["deep/Vögel.wav"]

    report = run(indexer, csv="file,text\nmoved.wav,squeal\n")
    assert (report.n_captioned, report.n_uncaptioned) == (1, 1)
    assert captions(indexer) == {"moved.wav": {"text": "squeal"}} and found(indexer, "hum") == []

    report = indexer.run(captions=[])
    assert (report.n_captioned, report.n_uncaptioned) == (0, 1)
    assert captions(indexer) == {} and found(indexer, "squeal") == []


def test_captions_are_replaced_only_where_the_run_looked(indexer: Indexer, sounds: Path) -> None:
    run(indexer, csv="file,text\nlow.wav,hum\ndeep/high.wav,squeal\n")
    report = run(indexer, sounds / "deep", csv="file,text\nVögel.wav,birds\nlow.wav,other\n")
    assert captions(indexer) == {"low.wav": {"text": "hum"}, "deep/Vögel.wav": {"text": "birds"}}
    assert (report.n_uncaptioned, report.unmatched_captions) == (1, ["low.wav"])


def test_a_file_may_be_spelled_in_many_ways(indexer: Indexer, sounds: Path) -> None:
    os.symlink(sounds, sounds.parent / "link")
    decomposed = unicodedata.normalize("NFD", "deep/Vögel.wav")
    rows = [
        f"{sounds}/low.wav,one",
        "./deep/../low.wav,two",
        f"{sounds.parent}/link/low.wav,three",
        "low.wav,two",
        f"{decomposed},birds",
        "deep/low.wav,nothing",
        f"{sounds.parent}/low.wav,nothing",
    ]
    report = run(indexer, csv="\n".join(["file,text", *rows]))
    assert captions(indexer) == {
        "low.wav": {"text": "one; two; three"},
        "deep/Vögel.wav": {"text": "birds"},
    }
    assert report.unmatched_captions == ["deep/low.wav", f"{sounds.parent}/low.wav"]


def test_a_recording_that_is_a_root_is_named_by_its_name(indexer: Indexer, sounds: Path) -> None:
    alone = write(sounds.parent / "alone.wav", tone(BAND_HZ[3]))
    report = run(indexer, alone, csv="file,text\nalone.wav,hum\n")
    assert report.n_captioned == 1 and found(indexer, "hum") == ["."]


def test_what_failed_keeps_its_captions_until_it_can_be_read(
    indexer: Indexer, sounds: Path
) -> None:
    (sounds / "bad.wav").write_text("no sound yet")
    report = run(indexer, csv="file,text\nbad.wav,thunder\n")
    assert (report.n_failed, report.unmatched_captions) == (1, [])
    write(sounds / "bad.wav", tone(BAND_HZ[6]))
    indexer.run()
    assert found(indexer, "thunder") == ["bad.wav"]


@pytest.mark.usefixtures("sounds")
def test_odd_texts_are_texts(indexer: Indexer) -> None:
    run(indexer, csv='file,text,Odd "field"\nlow.wav,"two\nlines\tand \x01 more",* NEAR(a b) "\n')
    (texts,) = captions(indexer).values()
    assert texts == {"text": "two lines and   more", 'Odd "field"': '* NEAR(a b) "'}
    assert found(indexer, "lines") == ["low.wav"]


@pytest.mark.parametrize(
    ("csv", "facts"),
    [
        (b"", ["empty"]),
        (b"file,words\na.wav,x\n", ["text", "words"]),
        (b"name,text\na.wav,x\n", ["file", "name"]),
        (b"file,text\n,x\n", ["line 2", "file"]),
        (b"file,text\na.wav\n", ["line 2", "1", "2"]),
        (b"file,text\n", ["no rows"]),
        (b"file,text\na.wav,\xff\xfe\n", ["line 2", "UTF-8"]),
        (b'file,text\na.wav,"open\n', ["line 2"]),
    ],
)
def test_a_bad_table_says_where_and_what(tmp_path: Path, csv: bytes, facts: list[str]) -> None:
    table = tmp_path / "captions.csv"
    table.write_bytes(csv)
    with pytest.raises(TableError) as raised:
        read_captions(table)
    for fact in (str(table), *facts):
        assert fact in str(raised.value)
    assert "\n" not in str(raised.value)


# ---- words of an older index


def test_words_that_are_stale_are_made_again_by_the_next_run(
    indexer: Indexer, sounds: Path
) -> None:
    (sounds / "low.wav").rename(sounds / "DOORMetl_slam.wav")
    indexer.run()
    before = indexer.rows()
    with indexer.store.writer() as writer, writer.transaction(new_revision=False) as changes:
        changes.empty_words()
    assert found(indexer, "metal") == []
    report = indexer.run()
    assert report.n_windows == 0 and indexer.rows() == before
    assert found(indexer, "metal") == ["DOORMetl_slam.wav"]
