"""Parts of a long work for several machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sounds import noise, write
from trainer.data.example import ShardError
from trainer.data.manifest_examples import pack_manifest
from trainer.data.part import Part, parse_part
from trainer.data.shard_folder import ShardFolder


@given(st.integers(1, 20), st.integers(0, 50))
def test_parts_are_all_of_it_and_nothing_twice(total: int, n: int) -> None:
    things = range(n)
    parts = [parse_part(f"{number}/{total}").of(things) for number in range(1, total + 1)]
    assert sorted(thing for part in parts for thing in part) == list(things)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "3", "a/b", "1/2/3", "-1/3", "1.5/3", ""])
def test_what_is_no_part_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"found {text!r}"):
        parse_part(text)


def test_the_folders_of_all_machines_hold_what_one_would(tmp_path: Path) -> None:
    rows = []
    for i in range(5):
        write(tmp_path / f"{i}.wav", noise(0.1, seed=i))
        rows.append(f"{i}.wav,sound {i}\n")
    manifest = tmp_path / "pairs.csv"
    manifest.write_text("audio,caption\n" + "".join(rows))
    outs = [tmp_path / "1", tmp_path / "2"]
    for number, out in enumerate(outs, start=1):
        report = pack_manifest(manifest, out, part=Part(number, 2), n_workers=1)
        assert report.n_sources == 4 - number
    data = ShardFolder(outs)
    captions = [data.open(n).facts(i).captions for n in range(2) for i in range(data.counts[n])]
    assert captions == [("sound 0",), ("sound 2",), ("sound 4",), ("sound 1",), ("sound 3",)]
    with pytest.raises(ShardError, match="part was 2/2, is now 1/2"):
        pack_manifest(manifest, outs[1], part=Part(1, 2), n_workers=1)
