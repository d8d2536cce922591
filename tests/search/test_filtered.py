"""Searches among the recordings that fit filters, against facts that a person can see."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.errors import QueryError
from soundsearch.search.index import Index
from soundsearch.search.scope import MOST_FILTERS
from soundsearch.store import Store
from soundsearch.store.pinned import create_index
from tests import sounds
from tests.filled_store import changing, recording
from tests.tiny_encoder import BAND_HZ, WORDS

pytestmark = pytest.mark.usefixtures("each_kind")

ROOT = Path("/library")
N = len(WORDS)
#: By path: seconds, sample rate, channels, format, day of change, metadata.
FACTS: dict[str, tuple[float, int, int, str, str, dict[str, str]]] = {
    "Doors/Metal door slam.wav": (1.5, 48_000, 1, "WAV", "2023-12-31", {}),
    "Doors/metal doors.WAV": (2.6, 96_000, 2, "WAVEX", "2024-01-01", {}),
    "Doors/door metal.flac": (12.0, 44_100, 2, "FLAC", "2024-05-31", {"title": "Studio B, rain"}),
    "Film/doors/ZOOM0012.m4a": (90.0, 48_000, 2, "MOV/AAC", "2024-06-01", {"scene": "Metal door"}),
    "Film/Résumé/rain on tin.aif": (600.0, 192_000, 6, "AIFF", "2025-02-01", {"note": "raining"}),
    "rain.opus": (3.0, 48_000, 1, "OGG", "2025-03-01", {"title": "a drain"}),
}


def local_ns(day: str) -> int:
    return round(datetime.fromisoformat(day).timestamp()) * 10**9


@pytest.fixture
def store(tiny: EncoderBundle, tmp_path: Path) -> Iterator[Store]:
    """Recordings with these facts; the i-th sounds like the i-th word."""
    with contextlib.closing(create_index(tmp_path / "index", tiny)) as made:
        with changing(made) as changes:
            root = changes.add_root(ROOT)
            for i, (path, facts) in enumerate(FACTS.items()):
                duration_s, sample_rate, n_channels, form, day, metadata = facts
                plain = recording(root.id, path, np.eye(N)[[i, (i + 1) % N]], duration_s=duration_s)
                made_so = replace(
                    plain,
                    file=replace(plain.file, mtime_ns=local_ns(day)),
                    sample_rate=sample_rate,
                    n_channels=n_channels,
                    format=form,
                    metadata=metadata,
                )
                changes.put(made_so)
        yield made


@pytest.fixture
def index(store: Store) -> Iterator[Index]:
    with Index(store, "cpu") as opened:
        yield opened


def found(index: Index, **query: Any) -> set[str]:
    return {str(hit.path.relative_to(ROOT)) for hit in index.search(top_k=99, **query)}


def names(*parts: str) -> set[str]:
    """The paths that hold one of these parts."""
    return {path for path in FACTS if any(part in path for part in parts)}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("duration:<3", {"Doors/Metal door slam.wav", "Doors/metal doors.WAV"}),
        ("duration:3", {"Doors/metal doors.WAV", "rain.opus"}),
        ("duration:2..12", names("doors.WAV", "flac", "opus")),
        ("duration:>=1:30", names("ZOOM", "tin")),
        ("-duration:>=1:30", names("Doors/", "opus")),
        ("rate:>=96k", names("doors.WAV", "tin")),
        ("rate:44k", names("flac")),
        ("channels:2 rate:48k", names("ZOOM")),
        ("channels:mono", names("slam", "opus")),
        ("format:wav", names("slam.wav", "doors.WAV")),
        ("format:flac format:aiff", names("flac", "tin")),
        ("format:aac", names("ZOOM")),
        ("format:m4a", names("ZOOM")),
        ("format:opus", names("opus")),
        ("-format:wav -format:flac", names("ZOOM", "tin", "opus")),
        ("modified:2024", names("doors.WAV", "flac", "ZOOM")),
        ("modified:2024-05", names("flac")),
        ("modified:>2024", names("tin", "opus")),
        ("modified:<2024", names("slam")),
        ("in:/library/Doors", names("Doors/")),
        ("in:doors", names("Doors/", "doors/")),
        ("in:film/DOORS", names("ZOOM")),
        ("in:library/film", names("Film")),
        ("in:Résumé", names("tin")),
        ("in:re\u0301sume\u0301", names("tin")),
        ("in:doors in:résumé -in:film/doors", names("Doors/", "tin")),
        ("-in:doors", names("tin", "opus")),
        ('"metal door"', names("slam", "ZOOM")),
        ('"METAL DOORS"', names("doors.WAV")),
        ('-"metal door"', names("doors.WAV", "flac", "tin", "opus")),
        ('"resume"', names("tin")),
        ('"zoom0012"', names("ZOOM")),
        ('"studio b rain"', names("flac")),
        ('"door slam"', names("slam")),
        ('"slam rain"', set()),
        ("-door", names("tin", "opus")),
        ("-metal-doors", names("flac", "tin", "opus")),
        ("-ZOOM0012", set(FACTS) - names("ZOOM")),
        ("tag:rain", names("flac", "tin")),
        ('tag:"rain"', names("flac")),
        ("-tag:rain", set(FACTS) - names("flac", "tin")),
        ("tag:door", names("ZOOM")),
        ("duration:<3 format:flac", set()),
    ],
)
def test_a_filter_chooses_what_fits_it(index: Index, filters: str, expected: set[str]) -> None:
    assert expected < set(FACTS)
    assert found(index, filters=filters) == found(index, text=filters, by="sound") == expected or (
        filters.startswith('"')
    )
    assert found(index, text=f"hum {filters}", by="sound") == expected
    assert found(index, text="hum", by="sound", filters=filters.split('" ')) == expected
    assert index.count(filters) == len(expected)


def test_words_are_sought_among_them_alone(index: Index) -> None:
    assert found(index, text="rain", by="words") == names("flac", "rain")
    assert found(index, text="rain duration:<5", by="words") == {"rain.opus"}
    assert found(index, text="rain -drain", by="words") == names("flac", "tin")


def test_filters_come_before_ranking(index: Index) -> None:
    """The best of those that fit are found, however many others sound better."""
    (hit,) = index.search(text=f"{WORDS[0]} channels:6", top_k=1)
    assert hit.path == ROOT / "Film/Résumé/rain on tin.aif"


def test_a_recording_is_asked_for_with_filters(index: Index, tmp_path: Path) -> None:
    sounds.write(tmp_path / "q.wav", sounds.tone(BAND_HZ[0]))
    hits = index.search(audio=tmp_path / "q.wav", filters=["format:wav", "-slam"])
    assert [hit.path.name for hit in hits] == ["metal doors.WAV"]


def test_the_filters_and_folders_of_all_arguments_hold(index: Index) -> None:
    query = {"text": "hum duration:<20", "filters": "in:doors", "within": "/library/Doors"}
    assert found(index, **query) == names("Doors/")
    assert found(index, **query | {"within": "/library/Film"}) == set()


def test_words_in_quotes_rank_as_words_too(index: Index) -> None:
    hits = index.search(text='"metal door" slam')
    assert [hit.path.name for hit in hits] == ["Metal door slam.wav", "ZOOM0012.m4a"]
    assert hits[0].words == ("metal", "door", "slam") and hits[0].score is not None


# ---- filters alone


def test_filters_alone_list_recordings_by_path_as_wholes(index: Index) -> None:
    hits = index.search(text="duration:>1")
    assert [str(hit.path.relative_to(ROOT)) for hit in hits] == sorted(FACTS)
    assert [hit.rank for hit in hits] == list(range(1, len(FACTS) + 1))
    assert {(hit.score, hit.cosine, hit.relevance, hit.words) for hit in hits} == {
        (None, None, None, ())
    }
    assert {(hit.start_s, hit.end_s) for hit in hits} == {(0.0, 2.0)}
    assert [hit.path for hit in index.search(within=ROOT, top_k=2)] == [h.path for h in hits[:2]]


def test_a_score_is_not_asked_of_filters_alone(index: Index) -> None:
    with pytest.raises(QueryError, match="min_score"):
        index.search(filters="format:wav", min_score=0.5)


def test_a_search_asks_for_something(index: Index) -> None:
    with pytest.raises(QueryError, match="filters"):
        index.search()
    with pytest.raises(QueryError, match="empty"):
        index.search(text=" ", filters="format:wav")


# ---- what cannot be


@pytest.mark.parametrize(
    ("filters", "facts"),
    [
        ("rain", ["'rain'", "no filter"]),
        (["format:wav", "duration:x"], ["'x'", "length"]),
        ("in:nowhere", ["'nowhere'", "/library"]),
        ("in:/library/nowhere", ["/library/nowhere"]),
        ("in:nowhere/doors", ["nowhere/doors"]),
        (3, ["3", "texts"]),
        ([3], ["filters[0]", "3"]),
        (b"format:wav", ["bytes"]),
    ],
)
def test_what_is_no_filter_is_one_error(index: Index, filters: Any, facts: list[str]) -> None:
    for ask in (lambda: index.search(text="hum", filters=filters), lambda: index.count(filters)):
        with pytest.raises(QueryError) as caught:
            ask()
        assert all(fact in str(caught.value) for fact in facts), caught.value


@pytest.mark.parametrize("name", ['"', "'", "100%", "_", "*", "a\\b", "\udcff", "…", "x" * 3000])
def test_no_name_breaks_a_statement(index: Index, name: str) -> None:
    for filters in (f"-x{name}", f"-in:{name}", f'in:"{name}"', f'tag:"a{name}"', f"-“a{name}”"):
        with contextlib.suppress(QueryError):
            index.search(text="hum", filters=filters)


def test_many_filters_are_one_statement_and_too_many_one_error(index: Index) -> None:
    assert found(index, filters=["-music"] * 500) == set(FACTS)
    excluded = [f'-in:"{name}"' for name in ("doors", "résumé")] + [
        f"-{letter}{i}x" for letter in "ab" for i in range(MOST_FILTERS // 2 - 1)
    ]
    assert len(excluded) == MOST_FILTERS
    assert found(index, text="hum", filters=excluded) == {"rain.opus"}
    formats = " ".join(f"format:x{i}" for i in range(MOST_FILTERS - 1))
    assert found(index, filters=f"{formats} format:wav") == names("slam.wav", "doors.WAV")
    with pytest.raises(QueryError, match=f"{MOST_FILTERS}"):
        index.search(text="hum -one", filters=excluded)


def test_any_number_of_folders_is_searched(index: Index, store: Store) -> None:
    with changing(store) as changes:
        for i in range(400):
            changes.put(recording(1, f"many/{i}/x.wav", np.eye(N)[0]))
    with Index(store, "cpu") as anew:
        folders = [ROOT / "many" / str(i) for i in range(1, 400)]
        assert len(anew.search(text="x", within=folders, top_k=999)) == 399


def test_a_folder_of_odd_bytes_is_named(index: Index, store: Store) -> None:
    odd = os.fsdecode(b"odd \xff")
    with changing(store) as changes:
        changes.put(recording(1, f"a/{odd}/b.wav"))
    with Index(store, "cpu") as anew:
        assert [hit.path.name for hit in anew.search(filters=f'in:"{odd}"')] == ["b.wav"]


def test_a_recording_that_is_a_root_has_a_format(store: Store) -> None:
    with changing(store) as changes:
        changes.put(recording(changes.add_root(Path("/elsewhere/one.ape")).id, "."))
    with Index(store, "cpu") as anew:
        (hit,) = anew.search(filters="format:ape")
        assert str(hit.path) == "/elsewhere/one.ape"
