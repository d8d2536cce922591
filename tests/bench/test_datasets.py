from __future__ import annotations

import csv
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soundsearch.bench.datasets import (
    ClassificationSet,
    DataSetError,
    RetrievalSet,
    audiocaps_stems,
    read_audiocaps,
    read_clotho,
    read_esc50,
    read_manifest,
    read_urbansound8k,
    require_whole,
)
from soundsearch.errors import BenchmarkError
from tests import made_benchmarks as made
from tests.made_benchmarks import small_is_whole  # noqa: F401
from tests.tiny_encoder import WORDS


def refused(read: Callable[[], object], *said: str) -> str:
    """The one line that a data set is refused with; it holds all of what is `said`."""
    with pytest.raises(DataSetError) as caught:
        read()
    line = str(caught.value)
    assert "\n" not in line
    for words in said:
        assert words in line
    return line


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


# ---- Clotho


@pytest.mark.parametrize(
    "folder",
    [
        "evaluation",
        "clotho_audio_evaluation",
        "clotho_audio_evaluation/evaluation",
        "clotho_audio_files/evaluation",
    ],
)
def test_clotho_in_each_of_its_layouts(tmp_path: Path, folder: str) -> None:
    found = read_clotho(made.clotho(tmp_path, folder=folder))
    assert found.names == tuple(f"Some {word}, far.wav" for word in WORDS)
    assert found.clips == tuple(tmp_path / folder / name for name in found.names)
    assert found.captions == tuple(map(tuple, made.captions()))
    assert found.captions[0][2:4] == ("rumble, and nothing else", '"rumble"; softly')
    assert (found.name, found.split, found.missing) == ("clotho", "evaluation", ())
    assert found.texts[5:10] == list(found.captions[1])
    assert found.owner.dtype == np.int64 and found.owner.tolist() == sorted(list(range(8)) * 5)


def test_the_splits_of_clotho(tmp_path: Path) -> None:
    for split in ("development", "validation"):
        made.clotho(tmp_path, split, folder=f"clotho_audio_{split}")
        assert read_clotho(tmp_path, split).split == split
    refused(lambda: read_clotho(tmp_path), "no clotho_captions_evaluation.csv")
    refused(
        lambda: read_clotho(tmp_path, "test"),
        "no split 'test'; there is: development, validation, evaluation",
    )


@pytest.mark.parametrize(
    ("split", "n", "expected"),
    [
        ("evaluation", 8, 1045),
        ("development", 8, 2893),
        ("development", 2893, 2893),
        ("development", 2894, 3839),
        ("development", 3840, 3840),
    ],
)
def test_a_short_list_is_held_against_the_published_split(
    tmp_path: Path, split: str, n: int, expected: int
) -> None:
    made.clotho(tmp_path, split)
    head, *lines = (tmp_path / f"clotho_captions_{split}.csv").read_text().splitlines()
    more = [f"{i}.wav,a,b,c,d,e" for i in range(n - len(lines))]
    (tmp_path / f"clotho_captions_{split}.csv").write_text("\n".join([head, *lines, *more]))
    found = read_clotho(tmp_path, split)
    assert (found.n_expected, found.n_missing) == (expected, expected - 8)
    with pytest.raises(DataSetError, match=f"{expected - 8} of {expected} clips cannot be"):
        require_whole(found, allow_missing=False)
    require_whole(found, allow_missing=True)


@pytest.mark.data
@pytest.mark.parametrize("split", ["development", "validation", "evaluation"])
def test_the_real_tables_of_clotho(tmp_path: Path, data_folder: Path, split: str) -> None:
    table = tmp_path / f"clotho_captions_{split}.csv"
    shutil.copy(data_folder / "captions" / f"clotho_v2_{split}.csv", table)
    folder = tmp_path / split
    folder.mkdir()
    (folder / "aside").touch()
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    n = len(rows)
    refused(lambda: read_clotho(tmp_path, split), f"none of the {n} recordings", "another split")
    for i, row in enumerate(rows):  # blanks at the ends are lost on some systems
        name = row["file_name"]
        (folder / (name.strip() if i % 2 else name)).touch()
    found = read_clotho(tmp_path, split)
    assert (len(found.clips), found.n_expected, found.missing) == (n, n, ())
    assert len(found.texts) == 5 * n and len(set(found.names)) == n
    assert found.texts == [row[f"caption_{i}"] for row in rows for i in range(1, 6)]
    require_whole(found, allow_missing=False)


@pytest.mark.usefixtures("small_is_whole")
def test_missing_recordings_are_counted_and_named(tmp_path: Path) -> None:
    made.clotho(tmp_path)
    for word in ("hum", "hiss"):
        (tmp_path / "evaluation" / f"Some {word}, far.wav").unlink()
    found = read_clotho(tmp_path)
    assert [clip.name for clip in found.missing] == ["Some hum, far.wav", "Some hiss, far.wav"]
    assert (len(found.clips), len(found.captions), found.n_expected) == (6, 6, 8)
    assert found.captions[1][0] == "a drone"  # captions stay with their clips
    refused(
        lambda: require_whole(found, allow_missing=False),
        "clotho evaluation: 2 of 8 clips cannot be measured",
        f"the first is Some hum, far.wav: not in {tmp_path / 'evaluation'}",
        "--allow-missing",
    )
    require_whole(found, allow_missing=True)


@pytest.mark.usefixtures("small_is_whole")
def test_clips_that_are_lost_later(tmp_path: Path) -> None:
    found = read_clotho(made.clotho(tmp_path)).without({0: "it is silent", 7: "it is cut"})
    assert found.captions == tuple(map(tuple, made.captions()[1:7]))
    assert [(clip.name, clip.reason) for clip in found.missing] == [
        ("Some rumble, far.wav", "it is silent"),
        ("Some hiss, far.wav", "it is cut"),
    ]
    nothing = found.without(dict.fromkeys(range(6), "gone"))
    line = refused(lambda: require_whole(nothing, allow_missing=True), "8 of 8 clips")
    assert "--allow-missing" not in line


def test_names_in_another_unicode_form(tmp_path: Path) -> None:
    made.clotho(tmp_path)
    (tmp_path / "evaluation" / "Some hum, far.wav").rename(
        tmp_path / "evaluation" / unicodedata.normalize("NFD", "häm.wav")
    )
    rewrite(
        tmp_path / "clotho_captions_evaluation.csv",
        lambda text: text.replace('"Some hum, far.wav"', unicodedata.normalize("NFC", "häm.wav")),
    )
    assert len(read_clotho(tmp_path).clips) == 8


def test_a_manifest_in_another_unicode_form(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Göße/ä é.wav") for form in ("NFC", "NFD"))
    for written, there in ((nfc, nfd), (nfd, nfc)):
        root = tmp_path / ascii(written)[:4].strip("'")
        root.mkdir()
        path = made.clip(root / there, "hum")
        for name in (written, root / written):  # absolute ones too
            table = made.table(root / "own.csv", [["file", "label"], [name, "hum"]])
            assert read_manifest(table).clips == (path,)


def test_two_names_that_look_alike_are_two(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "ä.wav") for form in ("NFC", "NFD"))
    made.clip(tmp_path / nfc, "hum")
    rows = [["file", "label"], [nfc, "hum"], [nfd, "hiss"]]
    table = made.table(tmp_path / "own.csv", rows)
    refused(lambda: read_manifest(table), "'\\xe4.wav' and 'a\\u0308.wav'")
    made.clip(tmp_path / nfd, "hiss")
    assert read_manifest(table).clips == (tmp_path / nfc, tmp_path / nfd)
    made.clotho(tmp_path, words=("hum", "hiss"))
    for word, name in (("hum", nfc), ("hiss", nfd)):
        (tmp_path / "evaluation" / f"Some {word}, far.wav").rename(tmp_path / "evaluation" / name)
        rewrite(
            tmp_path / "clotho_captions_evaluation.csv",
            lambda text, word=word, name=name: text.replace(f'"Some {word}, far.wav"', name),
        )
    assert [path.name for path in read_clotho(tmp_path).clips] == [nfc, nfd]


def test_labels_that_look_alike_are_refused(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    made.clip(tmp_path / "a.wav", "hum")
    made.clip(tmp_path / "b.wav", "hiss")
    rows = [["file", "label"], ["a.wav", nfc], ["b.wav", nfd]]
    table = made.table(tmp_path / "own.csv", rows)
    refused(lambda: read_manifest(table), "'caf\\xe9' and 'cafe\\u0301'")


def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path) -> None:
    made.clip(tmp_path / "a.wav", "hum")
    rows = [["file", "label"], ["a.wav", "hum"], ["x" * 5000, "hiss"], ["\0", "hiss"]]
    assert read_manifest(made.table(tmp_path / "own.csv", rows)).n_missing == 2


def test_the_audio_of_another_split(tmp_path: Path) -> None:
    made.clotho(tmp_path)
    for path in (tmp_path / "evaluation").iterdir():
        path.rename(path.with_stem(f"other {path.stem}"))
    refused(
        lambda: read_clotho(tmp_path),
        "evaluation: none of the 8 recordings of clotho_captions_evaluation.csv is here "
        "(the first is Some rumble, far.wav); is this the audio of another split or data set?",
    )


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    made.clotho(tmp_path, folder="elsewhere")
    line = refused(lambda: read_clotho(tmp_path), "no recordings at", "unpack them there")
    assert f"{tmp_path}/evaluation or {tmp_path}/clotho_audio_evaluation" in line
    (tmp_path / "evaluation").mkdir()
    refused(lambda: read_clotho(tmp_path), "no recordings at")
    refused(lambda: read_clotho(tmp_path / "nowhere"), "nowhere: no such folder")


# ---- tables with something wrong

HEAD = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5"
BAD_TABLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty, expected a CSV"),
    "head alone": (HEAD.encode(), "holds no rows"),
    "no head": (b"x.wav,a,b,c,d,e\n", "missing, found x.wav, a, b, c, d, e"),
    "four captions": (
        b"file_name,caption_1,caption_2,caption_3,caption_4\nx.wav,a,b,c,d\n",
        "column caption_5 is missing, found file_name, caption_1",
    ),
    "a caption less": (
        f"{HEAD}\nx.wav,a,b,c,d,e\ny.wav,a,b,c,d\n".encode(),
        "line 3 has 5 cells, expected 6",
    ),
    "a comma without quotes": (
        f"{HEAD}\nx.wav,a,b,c,d, then e,f\n".encode(),
        "line 2 has 7 cells, expected 6 (file_name, caption_1, caption_2, caption_3, caption_4, "
        "caption_5); a text with a comma stands in quotes",
    ),
    "an empty caption": (f"{HEAD}\nx.wav,a,b, ,d,e\n".encode(), "line 2: caption_3 is empty"),
    "an empty name": (f"{HEAD}\n,a,b,c,d,e\n".encode(), "line 2: file_name is empty"),
    "a name twice": (
        f"{HEAD}\nx.wav,a,b,c,d,e\nx.wav,f,g,h,i,j\n".encode(),
        "x.wav is listed 2 times, expected once",
    ),
    "a quote left open": (
        f'{HEAD}\nx.wav,"a,b,c,d,e\n'.encode(),
        "line 2: not CSV (unexpected end",
    ),
    "two columns of one name": (b"file_name,caption_1,caption_1\n", "two columns have one name"),
    "Latin-1": (
        f"{HEAD}\nx.wav,a,b,c,d,e\ny.wav,caf\xe9,b,c,d,e\n".encode("latin-1"),
        "not UTF-8 (line 3 holds byte 0xe9, as Latin-1 would); save it as UTF-8",
    ),
    "UTF-16 without a mark": (
        f"{HEAD}\nx.wav,a,b,c,d,e\n".encode("utf-16-le"),
        "not UTF-8 (line 1 holds byte 0x00",
    ),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_is_one_line(tmp_path: Path, what: str) -> None:
    content, said = BAD_TABLES[what]
    made.clip(tmp_path / "evaluation" / "x.wav", "hum")
    (tmp_path / "clotho_captions_evaluation.csv").write_bytes(content)
    refused(lambda: read_clotho(tmp_path), f"{tmp_path}/clotho_captions_evaluation.csv", said)


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    refused(lambda: read_manifest(tmp_path / "no.csv"), "no.csv: cannot be read (No such file")
    refused(lambda: read_manifest(tmp_path), "cannot be read (a folder")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_any_line_ends(tmp_path: Path, mark: bytes, ends: str) -> None:
    made.clotho(tmp_path)
    path = tmp_path / "clotho_captions_evaluation.csv"
    lines = path.read_text().splitlines()
    path.write_bytes(mark + ends.join([*lines, "", ""]).encode())
    assert read_clotho(tmp_path).captions == tuple(map(tuple, made.captions()))


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_as_spreadsheets_save_them(tmp_path: Path, delimiter: str, encoding: str) -> None:
    made.clip(tmp_path / "a.wav", "hum")
    path = tmp_path / "own.csv"
    path.write_text(f"file{delimiter}caption\na.wav{delimiter}hum, höher\n", encoding=encoding)
    found = read_manifest(path)
    assert isinstance(found, RetrievalSet)
    assert found.captions == (("hum, höher",),)


# ---- AudioCaps

NAMES: dict[str, Callable[[str, int, int], str]] = {
    "id": lambda youtube_id, start, first: f"{youtube_id}.wav",
    "Yid": lambda youtube_id, start, first: f"Y{youtube_id}.flac",
    "id_start": lambda youtube_id, start, first: f"{youtube_id}_{start}.wav",
    "id_start_end": lambda youtube_id, start, first: f"{youtube_id}_{start}_{start + 10}.wav",
    "Yid_start_end": lambda youtube_id, start, first: (
        f"Y{youtube_id}_{start}.000_{start + 10}.000.wav"
    ),
    "milliseconds": lambda youtube_id, start, first: (
        f"{youtube_id}_{1000 * start}_{1000 * start + 10000}.WAV"
    ),
    "audiocap_id": lambda youtube_id, start, first: f"{first + 3}.wav",
}


@pytest.mark.parametrize("kind", NAMES)
def test_audiocaps_under_each_of_its_names(tmp_path: Path, kind: str) -> None:
    found = read_audiocaps(made.audiocaps(tmp_path, name=NAMES[kind]))
    expected = [NAMES[kind](f"-{word:_>9}Y", 10 * i, 1000 + 5 * i) for i, word in enumerate(WORDS)]
    assert [clip.name for clip in found.clips] == expected
    assert found.captions == tuple(map(tuple, made.captions()))  # the rows of a clip lie apart
    assert found.names[1] == "-______humY_10"
    assert (found.name, found.split, found.n_expected) == ("audiocaps", "test", 975)


@pytest.mark.parametrize("folder", ["audio", "audio/test", "test", ".", "audio/deep/down"])
def test_where_audiocaps_may_lie(tmp_path: Path, folder: str) -> None:
    made.audiocaps(tmp_path, folder=folder)
    assert len(read_audiocaps(tmp_path).clips) == 8
    for name in ("audiocaps_test.csv", "dataset/test.csv", "csv_files/test.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        next(tmp_path.rglob("*test.csv")).rename(tmp_path / name)
        assert len(read_audiocaps(tmp_path).clips) == 8


def test_audiocaps_lying_elsewhere(tmp_path: Path) -> None:
    made.audiocaps(tmp_path / "a", folder="sounds")
    (tmp_path / "a" / "test.csv").rename(tmp_path / "mine.csv")
    found = read_audiocaps(tmp_path, table=tmp_path / "mine.csv", audio=tmp_path / "a" / "sounds")
    assert len(found.clips) == 8
    refused(lambda: read_audiocaps(tmp_path / "a"), "no test.csv or audiocaps_test.csv here")
    refused(
        lambda: read_audiocaps(tmp_path, table=tmp_path / "mine.csv", audio=tmp_path / "none"),
        "no recordings at",
    )


@pytest.mark.data
@pytest.mark.parametrize(("split", "five"), [("train", 1), ("val", 5), ("test", 5)])
def test_the_real_tables_of_audiocaps(
    tmp_path: Path, data_folder: Path, split: str, five: int
) -> None:
    table = data_folder / "captions" / f"audiocaps_{split}.csv"
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    n = len({(row["youtube_id"], row["start_time"]) for row in rows})
    (tmp_path / f"{rows[0]['youtube_id']}.wav").touch()
    found = read_audiocaps(tmp_path, split, table=table, audio=tmp_path)
    assert (len(found.clips), found.n_missing, found.n_expected) == (1, n - 1, n)
    assert len(found.texts) == five


def test_one_video_in_two_clips_needs_the_start_in_names(tmp_path: Path) -> None:
    head = ["audiocap_id", "youtube_id", "start_time", "caption"]
    rows = [[5 * i + j, "abc", 30 * i, f"{i} {j}"] for i in (0, 1) for j in range(5)]
    made.table(tmp_path / "test.csv", [head, *rows])
    made.clip(tmp_path / "audio" / "abc.wav", "hum")
    refused(lambda: read_audiocaps(tmp_path), "none of the 2 recordings")
    made.clip(tmp_path / "audio" / "abc_30.wav", "hum")
    found = read_audiocaps(tmp_path)
    assert found.captions == (tuple(f"1 {j}" for j in range(5)),)
    assert [clip.name for clip in found.missing] == ["abc_0"]


def test_a_clip_of_audiocaps_with_a_caption_less(tmp_path: Path) -> None:
    made.audiocaps(tmp_path)
    rewrite(tmp_path / "test.csv", lambda text: text.rstrip().rsplit("\n", 1)[0] + "\n")
    refused(
        lambda: read_audiocaps(tmp_path), "-_____hissY has 4 captions, expected 5; is the file cut"
    )


def test_a_start_that_is_no_number() -> None:
    refused(
        lambda: audiocaps_stems("abc", "soon", []), "start_time of abc is 'soon', expected seconds"
    )


def test_an_audiocap_id_twice(tmp_path: Path) -> None:
    made.audiocaps(tmp_path)
    rewrite(tmp_path / "test.csv", lambda text: text.replace("\n1001,", "\n1000,"))
    refused(lambda: read_audiocaps(tmp_path), "1000 is listed 2 times")


# ---- ESC-50 and UrbanSound8K


def test_esc50(tmp_path: Path) -> None:
    found = read_esc50(made.esc50(tmp_path))
    assert found.classes == tuple(f"{word}_noise" for word in WORDS)
    assert found.target.tolist() == [i for i in range(8) for _ in (1, 2)]
    assert found.fold is not None and found.fold.tolist() == [1, 2] * 8
    assert found.clips[3] == tmp_path / "audio" / "2-100001-A-1.wav"
    assert (found.name, found.split, found.n_expected) == ("esc-50", "all", 2000)


def test_urbansound8k(tmp_path: Path) -> None:
    found = read_urbansound8k(made.urbansound8k(tmp_path))
    assert found.classes == tuple(f"{word}_sound" for word in WORDS)
    assert found.target.tolist() == [i % 8 for i in range(20)]
    assert found.fold is not None and found.fold.tolist() == [i % 10 + 1 for i in range(20)]
    assert found.clips[10] == tmp_path / "audio" / "fold1" / "1001-2-0-0.wav"
    assert found.names[10] == "fold1/1001-2-0-0.wav"
    assert (found.name, found.split, found.n_expected) == ("urbansound8k", "all", 8732)


@pytest.mark.usefixtures("small_is_whole")
def test_classes_keep_their_places_when_clips_are_missing(tmp_path: Path) -> None:
    made.esc50(tmp_path)
    for name in ("1-100000-A-0.wav", "2-100000-A-0.wav", "1-100004-A-4.wav"):
        (tmp_path / "audio" / name).unlink()
    found = read_esc50(tmp_path)
    assert len(found.classes) == 8 and found.n_missing == 3
    assert found.target.tolist() == [1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6, 7, 7]
    assert found.fold is not None and found.fold.tolist() == [1, 2] * 3 + [2] + [1, 2] * 3
    fewer = found.without({0: "it is silent"})
    assert fewer.target.tolist() == found.target.tolist()[1:]
    assert fewer.fold is not None and fewer.fold.tolist() == found.fold.tolist()[1:]


def test_class_numbers_need_not_begin_at_0(tmp_path: Path) -> None:
    made.esc50(tmp_path)
    rewrite(
        tmp_path / "meta" / "esc50.csv", lambda text: re.sub(r",(\d),(\w+_noise)", r",4\1,\2", text)
    )
    found = read_esc50(tmp_path)
    assert found.classes[0] == "rumble_noise" and found.target.tolist()[:4] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "2,0,rumble_noise",
            "2,0,growl",
            "class 0 is 'rumble_noise', and 'growl' at 2-100000-A-0.wav",
        ),
        ("2,0,rumble_noise", "2,9,rumble_noise", "'rumble_noise' is the name of two classes"),
        ("2,0,rumble_noise", "2,,rumble_noise", "line 3: target is empty"),
        ("2,0,rumble_noise", "2,one,rumble_noise", "class 'one' is no whole number"),
        ("2,0,rumble_noise", "-1,0,rumble_noise", "fold '-1' is no whole number"),
        ("2,0,rumble_noise", "2,0, ", "line 3: category is empty"),
        ("2-100000-A-0.wav", "1-100000-A-0.wav", "1-100000-A-0.wav is listed 2 times"),
    ],
)
def test_labels_that_contradict_each_other(tmp_path: Path, old: str, new: str, said: str) -> None:
    made.esc50(tmp_path)
    rewrite(tmp_path / "meta" / "esc50.csv", lambda text: text.replace(old, new))
    refused(lambda: read_esc50(tmp_path), said)


# ---- one's own


def test_a_manifest_of_captions(tmp_path: Path) -> None:
    for word in ("hum", "hiss"):
        made.clip(tmp_path / "sub" / f"{word}.wav", word)
    path = made.table(
        tmp_path / "mine.csv",
        [
            ["caption", "file", "by"],
            ["a hum", "sub/hum.wav", "me"],
            ["a hiss", tmp_path / "sub" / "hiss.wav", "me"],
            ["hum, hum", "sub/hum.wav", ""],
            ["gone", "../gone.wav", ""],
        ],
    )
    found = read_manifest(path)
    assert isinstance(found, RetrievalSet)
    assert found.captions == (("a hum", "hum, hum"), ("a hiss",))
    assert found.clips == (tmp_path / "sub" / "hum.wav", tmp_path / "sub" / "hiss.wav")
    assert (found.name, found.split, found.n_expected) == ("manifest", "mine", 3)
    assert [clip.name for clip in found.missing] == ["../gone.wav"]


def test_a_manifest_called_like_a_data_set_is_not_held_against_it(tmp_path: Path) -> None:
    made.clip(tmp_path / "hum.wav", "hum")
    path = made.table(tmp_path / "esc-50.csv", [["file", "label"], ["hum.wav", "hum"]])
    assert read_manifest(path).n_expected == 1


@pytest.mark.parametrize("with_fold", [False, True])
def test_a_manifest_of_labels(tmp_path: Path, with_fold: bool) -> None:
    rows = [["file", "label"], ["a.wav", "hum"], ["b.wav", "hiss"], ["c.wav", "hum"]]
    for name in ("a", "b", "c"):
        made.clip(tmp_path / f"{name}.wav", "hum")
    if with_fold:
        rows = [[*row, fold] for row, fold in zip(rows, ["fold", "3", "3", "4"], strict=True)]
    found = read_manifest(made.table(tmp_path / "mine.csv", rows))
    assert isinstance(found, ClassificationSet)
    assert (found.classes, found.target.tolist()) == (("hum", "hiss"), [0, 1, 0])
    assert (found.fold is None) is not with_fold
    assert found.fold is None or found.fold.tolist() == [3, 3, 4]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [["file", "words"]],
            "its columns are file, words; expected file and caption, or file and label",
        ),
        ([["file", "caption", "label"]], "has captions and labels; choose with --ask caption or"),
        ([["path", "label"], ["a.wav", "x"]], "column file is missing, found path, label"),
        ([["file", "label"]], "holds no rows"),
        ([["file", "caption"]], "holds no rows"),
        ([["file", "label"], ["a.wav", "x"], ["a.wav", "y"]], "a.wav is listed 2 times"),
        ([["file", "caption"], ["a.wav", "x"], ["a.wav", "x"]], "a.wav has the caption 'x' twice"),
        ([["file", "caption"], ["a.wav", "x"], ["./a.wav", "y"]], "a.wav: two clips share it"),
        ([["file", "label"], ["b.wav", "x"]], "none of the 1 recordings of mine.csv is here"),
        ([["file", "label", "fold"], ["a.wav", "x", "first"]], "fold 'first' is no whole number"),
    ],
)
def test_a_manifest_with_something_wrong(tmp_path: Path, rows: list[list[str]], said: str) -> None:
    made.clip(tmp_path / "a.wav", "hum")
    path = made.table(tmp_path / "mine.csv", rows)
    refused(lambda: read_manifest(path), said)


def test_refusals_are_of_the_benchmarks() -> None:
    assert issubclass(DataSetError, BenchmarkError)


def test_one_split_of_a_manifest_and_one_of_its_columns(tmp_path: Path) -> None:
    rows = [["file", "caption", "label", "split"]]
    for i, (label, split) in enumerate([("dog", "train"), ("rain", "valid"), ("dog", "valid")]):
        made.clip(tmp_path / f"{i}.wav", "hum")
        rows.append([f"{i}.wav", f"{label} number {i}", label, split])
    path = made.table(tmp_path / "both.csv", rows)
    with pytest.raises(DataSetError, match="captions and labels; choose with --ask caption or"):
        read_manifest(path)
    captions = read_manifest(path, split="valid", ask="caption")
    assert isinstance(captions, RetrievalSet)
    assert (captions.names, captions.split) == (("1.wav", "2.wav"), "both/valid")
    assert captions.texts == ["rain number 1", "dog number 2"]
    labels = read_manifest(path, split="valid", ask="label")
    assert isinstance(labels, ClassificationSet)
    assert (labels.classes, labels.target.tolist()) == (("rain", "dog"), [0, 1])
    assert read_manifest(path, ask="label").names == ("0.wav", "1.wav", "2.wav")
    with pytest.raises(DataSetError, match="has no split 'test'; there is: train, valid"):
        read_manifest(path, split="test", ask="label")
    plain = made.table(tmp_path / "plain.csv", [["file", "caption"], ["1.wav", "rain"]])
    with pytest.raises(DataSetError, match="column split is missing"):
        read_manifest(plain, split="valid")
    with pytest.raises(DataSetError, match="column label is missing, found file, caption"):
        read_manifest(plain, ask="label")
