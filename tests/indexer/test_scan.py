from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.scan import scan
from soundsearch.audio.suffixes import AMBIGUOUS_SUFFIXES, AUDIO_SUFFIXES
from soundsearch.files import hash_of
from tests.ordinary_user import open_folder, ordinary_user


def files(root: Path, *names: str) -> None:
    """Make files of four bytes; a scan reads names, not contents."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")


def test_finds_audio_by_suffix_in_upper_and_lower_case(library: Path) -> None:
    files(library, "a.wav", "B.WAV", "c.Flac", "d.mp3", "e.M4A", "deep/er/f.ogg", "clip.MOV")
    files(library, "notes.txt", "cover.jpg", "wav", "a.wav.asd", "b.wav~", "c.wav.part")
    found = scan(library)
    assert sorted(found.files) == [
        "B.WAV",
        "a.wav",
        "c.Flac",
        "clip.MOV",
        "d.mp3",
        "deep/er/f.ogg",
        "e.M4A",
    ]
    assert found.unreadable == []


@pytest.mark.parametrize("suffix", sorted(AUDIO_SUFFIXES - set(AMBIGUOUS_SUFFIXES)))
def test_every_suffix_counts_in_both_cases(library: Path, suffix: str) -> None:
    files(library, f"low{suffix}", f"UP{suffix.upper()}")
    assert sorted(scan(library).files) == [f"UP{suffix.upper()}", f"low{suffix}"]


def test_files_of_another_kind_with_an_ending_of_sound_are_skipped(library: Path) -> None:
    library.mkdir(parents=True, exist_ok=True)
    (library / "main.ts").write_text("export const greeting = 'Good morning';\n" * 100)
    packet = b"G\x40\0\x10" + bytes(184)
    (library / "film.ts").write_bytes(packet * 10)
    found = scan(library)
    assert list(found.files) == ["film.ts"]
    assert found.skipped == {".ts": 1}


def test_tells_size_and_time_of_change(library: Path) -> None:
    files(library, "a.wav")
    os.utime(library / "a.wav", ns=(5, 1_234_567_890_123_456_789))
    assert scan(library).files == {"a.wav": (4, 1_234_567_890_123_456_789)}


def test_passes_over_what_is_hidden_and_what_systems_keep(library: Path) -> None:
    files(library, "a.wav", ".hidden.wav", "._a.wav", ".git/b.wav", ".Trash/deep/c.wav")
    files(library, "@eaDir/a.wav/a.wav", "__MACOSX/._a.wav", "__MACOSX/a.wav")
    files(library, "#recycle/old.wav", "$RECYCLE.BIN/old.wav", "System Volume Information/x.wav")
    files(library, "deep/@eaDir/b.wav", "deep/b.wav")
    assert list(scan(library).files) == ["a.wav", "deep/b.wav"]


def test_a_folder_named_like_a_sound_is_looked_into(library: Path) -> None:
    files(library, "takes.wav/one.wav")
    assert list(scan(library).files) == ["takes.wav/one.wav"]


@pytest.mark.parametrize(
    ("pattern", "passed_over"),
    [
        ("b.wav", {"x/b.wav"}),
        ("*.mp3", {"c.mp3", "x/y/d.mp3"}),
        ("x", {"x/b.wav", "x/y/d.mp3"}),
        ("x/", {"x/b.wav", "x/y/d.mp3"}),
        ("x/y", {"x/y/d.mp3"}),
        ("y", {"x/y/d.mp3"}),
        ("x/*.wav", {"x/b.wav"}),
        ("x/*", {"x/b.wav", "x/y/d.mp3"}),
        ("[ab].wav", {"a.wav", "x/b.wav"}),
        ("A.wav", set()),
        ("library", set()),
    ],
)
def test_exclude_matches_names_relative_paths_and_folders(
    library: Path, pattern: str, passed_over: set[str]
) -> None:
    everything = {"a.wav", "c.mp3", "x/b.wav", "x/y/d.mp3"}
    files(library, *everything)
    assert everything - set(scan(library, exclude=[pattern]).files) == passed_over


def test_several_patterns_add_up(library: Path) -> None:
    files(library, "a.wav", "b.mp3", "x/c.wav")
    assert list(scan(library, exclude=["*.mp3", "x"]).files) == ["a.wav"]


def test_one_folder_or_one_file_of_a_root(library: Path) -> None:
    files(library, "a.wav", "x/b.wav", "x/y/c.wav", "xx/d.wav")
    assert list(scan(library, "x").files) == ["x/b.wav", "x/y/c.wav"]
    assert list(scan(library, "x/b.wav").files) == ["x/b.wav"]


def test_a_file_that_is_named_is_taken_whatever_its_name(library: Path) -> None:
    files(library, "recording", ".hidden.wav")
    assert list(scan(library, "recording").files) == ["recording"]
    assert list(scan(library, ".hidden.wav").files) == [".hidden.wav"]


def test_linked_files_are_found_under_the_name_of_the_link(library: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.wav").write_bytes(b"RIFF....")
    (library / "linked.wav").symlink_to(tmp_path / "outside.wav")
    assert {name: size for name, (size, _) in scan(library).files.items()} == {"linked.wav": 8}


def test_linked_folders_are_followed_once(library: Path, tmp_path: Path) -> None:
    files(tmp_path / "elsewhere", "a.wav", "deep/b.wav")
    (library / "one").symlink_to(tmp_path / "elsewhere")
    (library / "two").symlink_to(tmp_path / "elsewhere")
    assert list(scan(library).files) == ["one/a.wav", "one/deep/b.wav"]


def test_a_link_never_takes_the_place_of_the_real_folder(library: Path) -> None:
    files(library, "real/a.wav")
    (library / "alias").symlink_to(library / "real")  # sorts before it
    (library / "x").mkdir()
    (library / "x" / "alias").symlink_to(library / "real")
    assert list(scan(library).files) == ["real/a.wav"]


@pytest.mark.parametrize("target", [".", "..", "/", "../..", "x"])
def test_links_to_the_root_above_it_and_in_circles_end(library: Path, target: str) -> None:
    files(library, "x/a.wav")
    files(library.parent, "above.wav")
    (library / "x" / "loop").symlink_to(
        library / target if not target.startswith("/") else Path(target)
    )
    found = scan(library)
    assert list(found.files) == ["x/a.wav"]
    assert found.unreadable == []


def test_a_link_to_itself_and_links_to_each_other_end(library: Path) -> None:
    files(library, "a.wav")
    (library / "me").symlink_to("me")
    (library / "you").symlink_to("us")
    (library / "us").symlink_to("you")
    found = scan(library)
    assert list(found.files) == ["a.wav"]
    assert found.unreadable == []


def test_folders_that_link_to_each_other_are_each_looked_through_once(library: Path) -> None:
    files(library, "x/a.wav", "y/b.wav")
    (library / "x" / "to_y").symlink_to(library / "y")
    (library / "y" / "to_x").symlink_to(library / "x")
    assert list(scan(library).files) == ["x/a.wav", "y/b.wav"]


def test_a_link_that_leads_above_the_root_is_not_followed(library: Path, tmp_path: Path) -> None:
    files(tmp_path, "private/secret.wav")
    files(library, "a.wav")
    (library / "up").symlink_to(tmp_path)
    (library / "root").symlink_to("/")
    assert list(scan(library).files) == ["a.wav"]


def test_a_broken_link_is_listed_so_that_it_fails_by_name(library: Path) -> None:
    (library / "gone.wav").symlink_to(library / "nowhere.wav")
    (library / "loop.wav").symlink_to("loop.wav")
    (library / "gone_folder").symlink_to(library / "nowhere")
    found = scan(library)
    assert found.files == {"gone.wav": (0, 0), "loop.wav": (0, 0)}
    assert found.unreadable == []


def test_a_pipe_named_wav_is_not_opened(library: Path) -> None:
    os.mkfifo(library / "pipe.wav")  # whoever opened it would wait for ever
    files(library, "a.wav")
    assert list(scan(library).files) == ["a.wav"]


@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_a_link_to_what_is_no_file_is_passed_over(library: Path, target: str) -> None:
    files(library, "a.wav")
    os.mkfifo(library / "pipe")
    (library / "b.wav").symlink_to(target)
    assert sorted(scan(library).files) == ["a.wav"]


def test_what_became_a_pipe_is_not_waited_for(library: Path) -> None:
    os.mkfifo(library / "pipe.wav")
    with pytest.raises(OSError, match="not a regular file"):
        hash_of(library / "pipe.wav")


def test_empty_folders_are_told(library: Path) -> None:
    files(library, "a/a.wav", "b/notes.txt", "c/d/e.wav")
    (library / "c" / "d" / "e.wav").unlink()
    (library / "f").mkdir()
    found = scan(library)
    assert found.empty == {"c/d", "f"}
    assert found.emptied("c/d/e.wav") == found.emptied("c/d/g/h.wav") == "c/d"
    assert found.emptied("c/e.wav") is None


def test_a_folder_that_cannot_be_listed_is_told_and_its_files_are_not_judged() -> None:
    with open_folder() as root:
        files(root, "a.wav", "closed/b.wav", "closed_too.wav", "x/closed/c.wav")
        (root / "closed").chmod(0)
        (root / "x" / "closed").chmod(0)
        with ordinary_user():
            found = scan(root)
        assert list(found.files) == ["a.wav", "closed_too.wav"]
        assert sorted(found.unreadable) == [
            ("closed", "Permission denied"),
            ("x/closed", "Permission denied"),
        ]
        assert not found.can_tell("closed/b.wav")
        assert not found.can_tell("x/closed/deep/c.wav")
        assert found.can_tell("x/other.wav")
        assert found.can_tell("closed_too.wav")


def test_a_root_that_cannot_be_listed_tells_nothing() -> None:
    with open_folder() as root:
        files(root, "lib/a.wav")
        (root / "lib").chmod(0)
        with ordinary_user():
            found = scan(root / "lib")
        assert found.unreadable == [(".", "Permission denied")]
        assert not found.can_tell("a.wav")


def test_a_link_into_a_closed_folder_is_not_judged_either() -> None:
    with open_folder() as root:
        files(root, "elsewhere/takes/b.wav", "lib/a.wav")
        (root / "lib" / "link").symlink_to(root / "elsewhere" / "takes")
        (root / "elsewhere").chmod(0)
        with ordinary_user():
            found = scan(root / "lib")
        assert list(found.files) == ["a.wav"]
        assert found.unreadable == [("link", "Permission denied")]
        assert not found.can_tell("link/b.wav")


def test_a_folder_whose_files_cannot_be_looked_at_lists_their_names() -> None:
    with open_folder() as root:
        files(root, "lib/a.wav")
        (root / "lib").chmod(0o444)  # names, but nothing about the files
        with ordinary_user():
            assert scan(root / "lib").files == {"a.wav": (0, 0)}


def test_the_order_is_that_of_names_whatever_the_disk_says(library: Path) -> None:
    names = ["z.wav", "a.wav", "m/z.wav", "m/a.wav", "m/k/b.wav", "b/x.wav", "Z/y.wav"]
    files(library, *names)
    assert list(scan(library).files) == [
        "a.wav",
        "z.wav",
        "Z/y.wav",
        "b/x.wav",
        "m/a.wav",
        "m/z.wav",
        "m/k/b.wav",
    ]


def test_names_of_any_bytes(library: Path) -> None:
    names = ["Gewitter ä.wav", "雨.wav", "two\nlines.wav", os.fsdecode(b"latin-\xe9.wav")]
    files(library, *names)
    assert set(scan(library).files) == set(names)
