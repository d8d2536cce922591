"""Files of the hits: tables, playlists, labels, copies, links and excerpts."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import soundfile

from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from soundsearch.hit_files import (
    LONGEST_EXCERPT_S,
    Written,
    copy_recordings,
    link_recordings,
    write_excerpts,
    write_labels,
    write_playlist,
    write_table,
)
from soundsearch.search.hits import Hit, Passage
from tests import program
from tests.conftest import Run
from tests.ordinary_user import open_folder, ordinary_user
from tests.sounds import tone, write
from tests.test_full_disk import no_room
from tests.tiny_encoder import BAND_HZ, WORDS


@pytest.fixture
def library(tmp_path: Path, soundsearch: Run) -> Path:
    """Four recordings of a second, in two folders with equal names, and one long one."""
    folder = tmp_path / "library"
    for word, hz in list(zip(WORDS, BAND_HZ, strict=True))[:2]:
        for inside, level in (("day", 0.5), ("night", 0.4)):
            write(folder / inside / f"{word}.wav", tone(hz, level=level))
    quiet = tone(BAND_HZ[7], 4, level=0.05)
    write(folder / "long.wav", np.concatenate([quiet, tone(BAND_HZ[5]), quiet]), subtype="PCM_16")
    soundsearch("index", folder)
    return folder


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """What is in a folder: path, content and time of change of each file."""
    return {
        str(path.relative_to(folder)): (sha256_of(path), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def a_hit(path: Path, **facts: object) -> Hit:
    common: dict[str, object] = {
        "rank": 1,
        "recording_id": 1,
        "start_s": 1.5,
        "end_s": 4.5,
        "cosine": 0.25,
        "relevance": None,
        "duration_s": 9.6,
        "is_present": True,
    }
    return Hit(path=path, **{**common, **facts})  # type: ignore[arg-type]


# ---- lists


def test_the_table_has_a_row_for_each_hit(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    plain = soundsearch("query", WORDS[0])
    result = soundsearch("query", WORDS[0], "--csv", "hits.csv")
    assert result.stdout == plain.stdout
    assert "hits.csv" in result.stderr
    with open(tmp_path / "hits.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "score", "start_s", "end_s", "duration_s", "words", "path"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["path"] for row in rows} == {str(path) for path in library.rglob("*.wav")}
    assert rows[0]["words"] == WORDS[0]
    assert (float(rows[0]["start_s"]), float(rows[0]["duration_s"])) == (0.0, 1.0)
    assert f"{float(rows[0]['score']):.3f}" == plain.stdout.split()[1]


def test_no_cell_of_the_table_is_a_formula(tmp_path: Path) -> None:
    hit = a_hit(tmp_path / '=1+1, "a".wav', words=("=HYPERLINK(1)",))
    with open(write_table([hit], tmp_path / "a.csv"), encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["words"] == "'=HYPERLINK(1)"
    assert row["path"] == str(hit.path)


def test_the_playlist(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    soundsearch("query", WORDS[5], "-k", 1, "--m3u", "hits.m3u8")
    lines = (tmp_path / "hits.m3u8").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["#EXTM3U", "#EXTINF:9,long.wav"]
    option, start = lines[2].split("=")
    assert option == "#EXTVLCOPT:start-time" and 3.0 <= float(start) <= 4.5
    assert lines[3:] == [str(library / "long.wav")]


def test_an_odd_name_is_one_line_of_the_playlist(tmp_path: Path) -> None:
    odd = [b"two\nlines.wav", b"no \xff utf8.wav", "дождь.wav".encode(), b"#1.wav"]
    paths = [tmp_path / os.fsdecode(name) for name in odd]
    lines = write_playlist([a_hit(path) for path in paths], tmp_path / "a.m3u8").read_bytes()
    entries = [line for line in lines.splitlines() if not line.startswith(b"#")]
    for entry, path in zip(entries, paths, strict=True):
        assert unquote_to_bytes(entry.removeprefix(b"file://")) == os.fsencode(path)


def test_labels_of_several_recordings_have_names_and_of_one_none(tmp_path: Path) -> None:
    hits = [a_hit(tmp_path / "tab\there.wav"), a_hit(tmp_path / "b.wav", rank=2, start_s=0.25)]
    lines = write_labels(hits, tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()
    first, second = (line.split("\t") for line in lines)
    assert [float(cell) for cell in first[:2]] == [1.5, 4.5]
    assert [float(cell) for cell in second[:2]] == [0.25, 4.5]
    assert len(first) == len(second) == 3
    assert "here.wav" in first[2] and "b.wav" in second[2] and "0.250" in first[2]
    alone = write_labels(hits[:1], tmp_path / "b.txt").read_text(encoding="utf-8")
    assert ".wav" not in alone and "0.250" in alone


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--csv", "--m3u", "--labels"])
def test_a_list_overwrites_nothing_not_even_a_recording(
    soundsearch: Run, tmp_path: Path, option: str
) -> None:
    before = contents(tmp_path / "library")
    for name in ("day/hum.wav", "long.wav", "long.wav"):
        result = soundsearch("query", "hum", option, f"library/{name}")
    assert "long (3).wav" in result.stderr
    after = contents(tmp_path / "library")
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"day/hum (2).wav", "long (2).wav", "long (3).wav"}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--csv", "--m3u", "--labels"])
def test_a_list_into_a_folder_that_is_not_there_is_one_line(
    soundsearch: Run, tmp_path: Path, option: str
) -> None:
    result = soundsearch("query", "hum", option, "nowhere/hits", code=1)
    assert result.stderr.count("\n") == 1 and str(tmp_path / "nowhere/hits") in result.stderr
    assert result.stdout.count("\n") == 5
    assert soundsearch("query", "hum", option, "-", code=2).stdout == ""


# ---- copies and links


def test_copies_have_names_of_their_own(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    before = contents(library)
    result = soundsearch("query", WORDS[0], "--copy-to", "found/today")
    assert result.stdout == soundsearch("query", WORDS[0]).stdout
    found = tmp_path / "found" / "today"
    one, two = WORDS[:2]
    assert names(found) == sorted(
        [f"{one}.wav", f"{one} (2).wav", f"{two}.wav", f"{two} (2).wav", "long.wav"]
    )
    assert sorted(contents(found).values()) == sorted(before.values())
    assert contents(library) == before


def test_copying_into_the_library_changes_no_recording(soundsearch: Run, library: Path) -> None:
    before = contents(library)
    soundsearch("query", WORDS[5], "-k", 1, "--copy-to", library)
    after = contents(library)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"long (2).wav"}
    assert after["long (2).wav"] == before["long.wav"]


def test_links_lead_to_the_recordings(soundsearch: Run, library: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "long.wav").symlink_to("nowhere")  # a dangling link is a taken name too
    soundsearch("query", WORDS[0], "--link-to", "found")
    links = [path for path in (tmp_path / "found").iterdir() if path.name != "long.wav"]
    assert all(path.is_symlink() for path in links)
    assert {path.resolve() for path in links} == set(library.rglob("*.wav"))
    assert os.readlink(tmp_path / "found" / "long.wav") == "nowhere"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--copy-to", "--link-to", "--excerpts"])
def test_a_hit_that_is_gone_costs_one_line(soundsearch: Run, tmp_path: Path, option: str) -> None:
    gone = tmp_path / "library" / "day" / f"{WORDS[0]}.wav"
    gone.unlink()
    result = soundsearch("query", WORDS[0], option, "found")
    assert [str(gone) in line for line in result.stderr.splitlines()] == [True, False]
    assert len(names(tmp_path / "found")) == 4


def test_a_recording_twice_among_the_hits_is_copied_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(100))
    hits = [a_hit(path), a_hit(path, rank=2, start_s=0.0)]
    assert copy_recordings(hits, tmp_path / "to").paths == [tmp_path / "to" / "a.wav"]


@pytest.mark.parametrize("write_into", [copy_recordings, link_recordings, write_excerpts])
def test_names_are_not_taken_twice_by_those_who_write_at_once(
    tmp_path: Path, write_into: Callable[[list[Hit], Path], Written]
) -> None:
    hit = a_hit(write(tmp_path / "a.wav", tone(100)), start_s=0.0, end_s=1.0)
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: write_into([hit], tmp_path / "to").paths, range(16)))
    assert len({path for paths in written for path in paths}) == 16
    assert len(names(tmp_path / "to")) == 16


def test_the_longest_name_there_is_can_be_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / f"{'ж' * 125}x.wav", tone(100))
    assert len(os.fsencode(path.name)) == 255
    for _ in range(2):
        (copied,) = copy_recordings([a_hit(path)], tmp_path / "to").paths
    assert copied.name.endswith(" (2).wav") and len(names(tmp_path / "to")) == 2


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--copy-to", "--link-to", "--excerpts"])
def test_a_folder_that_is_a_file_is_one_line(soundsearch: Run, tmp_path: Path, option: str) -> None:
    (tmp_path / "found").write_text("mine")
    result = soundsearch("query", "hum", option, "found", code=1)
    assert result.stderr.count("\n") == 1 and str(tmp_path / "found") in result.stderr
    assert (tmp_path / "found").read_text() == "mine"


@pytest.mark.parametrize("write_into", [copy_recordings, link_recordings, write_excerpts])
def test_a_folder_that_cannot_be_written_is_one_line(
    write_into: Callable[[list[Hit], Path], object],
) -> None:
    with open_folder() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o555)
        hit = a_hit(write(folder / "a.wav", tone(100)), start_s=0.0, end_s=1.0)
        with ordinary_user(), pytest.raises(SoundsearchError, match="closed") as raised:
            write_into([hit], closed)
        assert "\n" not in str(raised.value)
        assert names(closed) == []


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("option", ["--copy-to", "--excerpts"])
def test_a_full_folder_is_one_line_and_leaves_no_part(
    soundsearch: Run, tmp_path: Path, option: str
) -> None:
    with no_room(4000):
        result = soundsearch("query", "hum", "-k", 2, option, "found", code=1)
    (line,) = result.stderr.splitlines()
    assert str(tmp_path / "found") in line and "0 of 2" in line
    assert names(tmp_path / "found") == []


# ---- excerpts


def test_an_excerpt_is_the_passage_with_handles(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        result = soundsearch("query", WORDS[5], "-k", 1, "--excerpts", "cuts", "--json")
    (hit,) = json.loads(result.stdout)["hits"]
    name = f"01 long 0m{int(hit['start_s']):02d}s"
    assert names(tmp_path / "cuts") == [f"{name} (2).wav", f"{name}.wav"]
    whole, rate = soundfile.read(library / "long.wav", dtype="int16")
    first = round((hit["start_s"] - 0.5) * rate)
    stop = round((hit["end_s"] + 0.5) * rate)
    for path in (tmp_path / "cuts").iterdir():
        samples, found_rate = soundfile.read(path, dtype="int16")
        np.testing.assert_array_equal(samples, whole[first:stop])
        assert found_rate == rate


def test_each_passage_is_a_row_a_label_and_an_excerpt(soundsearch: Run, tmp_path: Path) -> None:
    hum, hiss = tone(BAND_HZ[1], 2.0), tone(BAND_HZ[7], 6.0)
    write(tmp_path / "field" / "long.wav", np.concatenate([hiss, hum] * 4 + [hiss]))
    soundsearch("index", tmp_path / "field")
    for n, starts in ((4, [6, 14, 22, 30]), (1, [6]), (0, [6])):
        to = tmp_path / str(n)
        to.mkdir()
        ask = ("query", "hum", "--passages", n)
        soundsearch(*ask, "--csv", to / "a.csv", "--labels", to / "a.txt", "--excerpts", to / "cut")
        soundsearch(*ask, "--m3u", to / "a.m3u")
        with open(to / "a.csv") as file:
            rows = list(csv.DictReader(file))
        assert [round(float(row["start_s"])) for row in rows] == starts
        assert {row["rank"] for row in rows} == {"1"}
        labels = [line.split("\t") for line in (to / "a.txt").read_text().splitlines()]
        spans = [(float(start), float(end)) for start, end, _ in labels]
        assert spans == [(float(row["start_s"]), float(row["end_s"])) for row in rows]
        cuts = [soundfile.info(path).duration for path in sorted((to / "cut").iterdir())]
        assert cuts == pytest.approx([end - start + 1 for start, end in spans])
        assert (to / "a.m3u").read_text().count("long.wav") == 2  # its title and its path


def test_of_a_long_passage_the_beginning_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "rain.wav", tone(100, 90))
    rain = Passage(start_s=10.0, end_s=85.0, cosine=0.5, relevance=None)
    written = write_excerpts([a_hit(path, passages=(rain,))], tmp_path / "cut")
    assert soundfile.info(written.paths[0]).duration == pytest.approx(LONGEST_EXCERPT_S + 1)


def test_a_recording_that_is_no_sound_any_more_costs_one_line(
    soundsearch: Run, library: Path, tmp_path: Path
) -> None:
    (library / "long.wav").write_text("no sound")
    result = soundsearch("query", WORDS[5], "-k", 2, "--excerpts", "cuts")
    assert [str(library / "long.wav") in line for line in result.stderr.splitlines()] == [
        True,
        False,
    ]
    assert len(names(tmp_path / "cuts")) == 1


@pytest.mark.usefixtures("library")
def test_a_search_without_hits_writes_empty_lists(soundsearch: Run, tmp_path: Path) -> None:
    result = soundsearch(
        *("query", "saxophone", "--by", "words", "--csv", "a.csv", "--labels", "a.txt"),
        *("--excerpts", "cuts", "--copy-to", "found"),
    )
    assert result.stdout == ""
    assert (tmp_path / "a.csv").read_text().count("\n") == 1
    assert (tmp_path / "a.txt").read_text() == ""
    assert names(tmp_path / "cuts") == names(tmp_path / "found") == []


@pytest.mark.usefixtures("library")
def test_similar_has_the_same_options(tmp_path: Path) -> None:
    result = program.soundsearch(
        *("similar", tmp_path / "library" / "day" / f"{WORDS[0]}.wav", "-k", 1),
        *("--excerpts", "cuts", "--csv", "a.csv", "--link-to", "found"),
    )
    assert result.returncode == 0, result.stderr
    assert names(tmp_path / "found") == [f"{WORDS[0]}.wav"]
    assert (tmp_path / "a.csv").exists() and len(names(tmp_path / "cuts")) == 1
