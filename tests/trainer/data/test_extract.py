"""Extraction: the right samples and the right frames, and a bad video costs one line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soundsearch.errors import SoundsearchError
from tests.recorded import Recorded
from tests.videos import cut_off, number_of, two_noises, write_video
from trainer.data.cutting import ExtractConfig, extract, frame_times, read_examples
from trainer.data.example import Example
from trainer.data.pack import Problem, read_problems
from trainer.data.shard_folder import ShardFolder
from trainer.data.sound_files import read_channels
from trainer.data.videos import Span, Video, find_videos

RATE = 8000
THREE_S = ExtractConfig(example_s=3.0)


def read(
    path: Path, config: ExtractConfig = THREE_S, spans: tuple[Span, ...] | None = None
) -> tuple[list[Example], Problem | None]:
    found = list(read_examples(Video(path.parent, path.name, spans), config))
    problems = [item for item in found if isinstance(item, Problem)]
    assert len(problems) <= 1 and (not problems or found[-1] is problems[0])
    clips = [item for item in found if isinstance(item, Example)]
    if problems:
        assert problems[0].n_examples == len(clips)
        assert "\n" not in problems[0].reason
    return clips, problems[0] if problems else None


def sound_of(clip: Example) -> np.ndarray:
    return read_channels(clip.audio).channels


def stretch(sound: np.ndarray, clip: Example) -> np.ndarray:
    begin, end = round(clip.facts.begin_s * RATE), round(clip.facts.end_s * RATE)
    return sound[:, begin:end]


def chirp(seconds: float, sample_rate: int = 44100) -> np.ndarray:
    """A rising tone, (1, time), which codecs keep and which is nowhere like itself."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.sin(2 * np.pi * (200 * time + 300 * time**2)).astype(np.float32)[None] / 2


@pytest.mark.parametrize("suffix", ["mov", "mkv", "avi"])
def test_a_long_video_becomes_clips_that_follow_each_other(tmp_path: Path, suffix: str) -> None:
    sound = two_noises(7.5)
    clips, problem = read(write_video(tmp_path / f"x.{suffix}", sound, seconds=7.5))
    assert problem is None
    spans = [(clip.facts.begin_s, clip.facts.end_s) for clip in clips]
    assert spans == [(0.0, 3.0), (3.0, 6.0), (6.0, 7.5)]
    assert [[number_of(frame) for frame in clip.frames] for clip in clips] == [
        [0, 10, 20, 30],
        [30, 40, 50, 60],
        [60, 65, 70, 74],  # the last one decodable before the end
    ]
    assert clips[2].facts.frame_times_s == pytest.approx([6.0, 6.5, 7.0, 7.4])
    assert {clip.facts.source for clip in clips} == {f"x.{suffix}"}
    assert {clip.facts.sample_rate for clip in clips} == {RATE}
    np.testing.assert_array_equal(np.concatenate([*map(sound_of, clips)], axis=1), sound)


@pytest.mark.parametrize(("seconds", "n_clips"), [(6.9, 2), (7.1, 3), (3.0, 1), (1.0, 1), (0.9, 0)])
def test_a_remainder_under_a_second_is_dropped(
    tmp_path: Path, seconds: float, n_clips: int
) -> None:
    clips, problem = read(write_video(tmp_path / "x.mov", two_noises(seconds), seconds=seconds))
    assert len(clips) == n_clips
    assert problem == (None if n_clips else Problem("x.mov", "it is shorter than 1 s"))


def test_frames_lie_evenly_from_begin_to_end() -> None:
    assert frame_times(2.0, 5.0, 4) == [2.0, 3.0, 4.0, 5.0]
    assert frame_times(2.0, 5.0, 2) == [2.0, 5.0]
    assert frame_times(2.0, 5.0, 1) == [3.5]


@pytest.mark.parametrize(
    ("n_frames", "numbers"), [(1, [15]), (2, [0, 29]), (7, [0, 5, 10, 15, 20, 25, 29])]
)
def test_as_many_frames_as_asked_for(tmp_path: Path, n_frames: int, numbers: list[int]) -> None:
    path = write_video(tmp_path / "x.mov", two_noises(3))
    (clip,), _ = read(path, ExtractConfig(n_frames=n_frames))
    assert [number_of(frame) for frame in clip.frames] == numbers


def test_a_frame_is_the_one_shown_at_its_time_not_the_nearest(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mov", two_noises(8), seconds=8, fps=1)
    (clip,), _ = read(path, ExtractConfig(), (Span(1.9, 6.7),))
    assert [number_of(frame) for frame in clip.frames] == [1, 3, 5, 6]  # 1.9, 3.5, 5.1, 6.7


@pytest.mark.parametrize(
    ("size", "short", "shape"),
    [((64, 48), 24, (32, 24)), ((48, 64), 24, (24, 32)), ((64, 48), 256, (64, 48))],
)
def test_frames_are_shrunk_by_their_short_side_and_never_blown_up(
    tmp_path: Path, size: tuple[int, int], short: int, shape: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "x.mov", two_noises(2), seconds=2, size=size)
    (clip,), _ = read(path, ExtractConfig(size=short))
    with Image.open(io.BytesIO(clip.frames[0])) as image:
        assert (image.format, image.size) == ("JPEG", shape)


@pytest.mark.parametrize("degrees", [90, -90])
def test_a_video_filmed_on_its_side_is_set_upright(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "x.mov"
    write_video(path, two_noises(2), seconds=2, rotated=degrees, bright_left=True)
    (clip,), _ = read(path)
    with Image.open(io.BytesIO(clip.frames[0])) as image:
        assert image.size == (48, 64)
        levels = np.asarray(image.convert("L"), float)
    top, bottom = levels[:20].mean(), levels[-20:].mean()
    # Turned counterclockwise, what was on the left lies at the bottom.
    assert (bottom > top + 50) == (degrees == 90)
    assert (top > bottom + 50) == (degrees == -90)


def test_all_channels_are_kept(tmp_path: Path) -> None:
    six = np.concatenate([two_noises(2), two_noises(2) / 2, two_noises(2) / 4])
    six = np.rint(six * 2**15).astype(np.float32) / 2**15
    (clip,), _ = read(write_video(tmp_path / "x.mkv", six, seconds=2))
    np.testing.assert_array_equal(sound_of(clip), six)


def test_deep_sound_stays_deep(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mov", two_noises(2), seconds=2, codecs=("mpeg4", "pcm_s24le"))
    (clip,), _ = read(path)
    assert read_channels(clip.audio).bits == 24
    np.testing.assert_array_equal(sound_of(clip), two_noises(2))


def test_h264_and_aac(tmp_path: Path) -> None:
    sound = chirp(4)
    path = write_video(
        tmp_path / "x.mp4", sound, seconds=4, sample_rate=44100, codecs=("libx264", "aac")
    )
    (clip, _), problem = read(path)
    assert problem is None
    assert [number_of(frame) for frame in clip.frames] == [0, 10, 20, 30]
    decoded = sound_of(clip)
    assert decoded.shape == (1, 3 * 44100)
    # In step to the sample, though the codec loses something.
    assert np.corrcoef(decoded[0], sound[0, : 3 * 44100])[0, 1] > 0.99


def test_segments_are_cut_where_they_are_asked_for(tmp_path: Path) -> None:
    sound = two_noises(7)
    path = write_video(tmp_path / "x.mov", sound, seconds=7)
    spans = (
        Span(4.0, 5.0, ("later",), ("b",)),
        Span(0.5, 2.0, ("first",)),
        Span(1.0, 2.5, ("overlaps",)),
        Span(6.0, 9.0, ("shortened",)),
        Span(20.0, 22.0, ("beyond",)),
        Span(3.0, 3.4, ("too short",)),
    )
    clips, problem = read(path, THREE_S, spans)
    found = {clip.facts.captions[0]: clip for clip in clips}
    assert list(found) == ["first", "overlaps", "later", "shortened"]
    for clip in clips:
        np.testing.assert_array_equal(sound_of(clip), stretch(sound, clip))
    assert [number_of(frame) for frame in found["overlaps"].frames] == [10, 15, 20, 25]
    assert [number_of(frame) for frame in found["later"].frames] == [40, 43, 46, 50]
    assert found["later"].facts.labels == ("b",)
    assert found["shortened"].facts.end_s == 7.0
    assert problem is not None
    assert problem.reason.startswith("2 of 6 segments lie beyond the end of its sound (7.0 s)")


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_segments_far_apart_are_sought_to_the_sample(tmp_path: Path, suffix: str) -> None:
    sound = two_noises(75)
    path = write_video(
        tmp_path / f"x.{suffix}",
        sound,
        seconds=75,
        fps=1,
        key_every=7,
        codecs=("mpeg4", "pcm_s16le"),
    )
    spans = (Span(1.0, 3.0), Span(40.0, 43.0), Span(70.25, 74.25))
    clips, problem = read(path, THREE_S, spans)
    assert problem is None
    for clip, span in zip(clips, spans, strict=True):
        assert (clip.facts.begin_s, clip.facts.end_s) == (span.begin_s, span.end_s)
        np.testing.assert_array_equal(sound_of(clip), stretch(sound, clip))
    assert [number_of(frame) for frame in clips[1].frames] == [40, 41, 42, 43]
    assert [number_of(frame) for frame in clips[2].frames] == [70, 71, 72, 74]


def test_a_far_segment_does_not_cost_the_whole_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "x.mov", two_noises(75), seconds=75, fps=1, key_every=7)
    from trainer.data import cutting as module

    n_blocks = 0
    add = module._Sound.add

    def counting(self: object, block: np.ndarray, time_s: float | None) -> float:
        nonlocal n_blocks
        n_blocks += block.shape[1]
        return add(self, block, time_s)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Sound, "add", counting)
    read(path, THREE_S, (Span(70.0, 72.0),))
    assert n_blocks < 15 * RATE


def test_a_seek_that_lands_too_late_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.data import film as module

    sound = two_noises(40)
    path = write_video(tmp_path / "x.mov", sound, seconds=40, fps=1)
    seek = module.Film.seek
    monkeypatch.setattr(module.Film, "seek", lambda film, time_s: seek(film, time_s + 12))
    (clip,), _ = read(path, THREE_S, (Span(20.0, 22.0),))
    np.testing.assert_array_equal(sound_of(clip), stretch(sound, clip))
    assert [number_of(frame) for frame in clip.frames] == [20, 20, 21, 22]


def test_pictures_that_begin_late_do_not_shift_the_sound(tmp_path: Path) -> None:
    sound = two_noises(5)
    path = write_video(tmp_path / "x.mkv", sound, seconds=5, first_picture_s=1.5)
    (clip, _), _ = read(path)
    np.testing.assert_array_equal(sound_of(clip), sound[:, : 3 * RATE])
    assert [number_of(frame) for frame in clip.frames] == [0, 0, 5, 15]


def test_sound_that_begins_late_is_preceded_by_silence(tmp_path: Path) -> None:
    sound = two_noises(5)
    path = write_video(tmp_path / "x.mkv", sound, seconds=5, first_sound_s=1.5)
    (clip, _), _ = read(path)
    np.testing.assert_array_equal(sound_of(clip)[:, : RATE * 3 // 2], 0)
    np.testing.assert_array_equal(sound_of(clip)[:, RATE * 3 // 2 :], sound[:, : RATE * 3 // 2])
    assert [number_of(frame) for frame in clip.frames] == [0, 10, 20, 30]


def test_times_count_from_the_beginning_of_the_video(tmp_path: Path) -> None:
    sound = two_noises(5)
    path = tmp_path / "x.mkv"
    write_video(path, sound, seconds=5, first_picture_s=20.0, first_sound_s=20.0)
    (clip,), _ = read(path, THREE_S, (Span(1.0, 4.0),))
    np.testing.assert_array_equal(sound_of(clip), sound[:, RATE : 4 * RATE])
    assert [number_of(frame) for frame in clip.frames] == [10, 20, 30, 40]
    assert clip.facts.frame_times_s == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_sound_that_ends_early_ends_the_clips(tmp_path: Path) -> None:
    clips, problem = read(write_video(tmp_path / "x.mkv", two_noises(4), seconds=9))
    assert [(clip.facts.begin_s, clip.facts.end_s) for clip in clips] == [(0, 3), (3, 4)]
    assert [number_of(frame) for frame in clips[1].frames] == [30, 33, 36, 40]
    assert problem is None


def test_pictures_that_end_early_leave_out_the_clips_without_any(tmp_path: Path) -> None:
    path = write_video(tmp_path / "x.mkv", two_noises(9), seconds=9, pictures_s=3.5)
    clips, problem = read(path)
    assert [clip.facts.begin_s for clip in clips] == [0.0, 3.0]
    assert [number_of(frame) for frame in clips[1].frames] == [30, 34, 34, 34]
    assert problem == Problem("x.mkv", "examples left out for want of pictures: 1", 2)


def test_a_video_without_a_length_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    write_video(path, two_noises(4.4), seconds=4.4, options={"live": "1"})
    clips, problem = read(path)
    assert [clip.facts.end_s for clip in clips] == [3.0, 4.4]
    assert [number_of(frame) for frame in clips[1].frames] == [30, 34, 39, 43]
    assert problem is None


# What goes wrong.


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_a_video_that_is_cut_off_gives_its_whole_clips(tmp_path: Path, suffix: str) -> None:
    sound = two_noises(12)
    path = tmp_path / f"x.{suffix}"
    write_video(
        path, sound, seconds=12, options={"movflags": "+faststart"} if suffix == "mov" else {}
    )
    clips, problem = read(cut_off(path, 0.62))
    assert [(clip.facts.begin_s, clip.facts.end_s) for clip in clips] == [(0, 3), (3, 6)]
    np.testing.assert_array_equal(
        np.concatenate([*map(sound_of, clips)], axis=1), sound[:, : 6 * RATE]
    )
    assert [number_of(frame) for frame in clips[1].frames] == [30, 40, 50, 60]
    assert problem is not None
    assert problem.reason.startswith("it is cut off or damaged after 7.")
    assert problem.reason.endswith(" s of 12.0 s")


def test_damage_in_the_middle_leaves_the_rest_in_step(tmp_path: Path) -> None:
    path = tmp_path / "x.mov"
    write_video(path, chirp(9), seconds=9, sample_rate=44100, codecs=("mpeg4", "aac"))
    whole, _ = read(path)
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + 3000] = bytes(3000)
    path.write_bytes(content)
    clips, problem = read(path)
    assert problem is not None
    assert problem.reason.startswith("damaged packets were left out: ")
    assert [clip.facts for clip in clips] == [clip.facts for clip in whole]
    assert np.corrcoef(sound_of(clips[2])[0], sound_of(whole[2])[0])[0, 1] > 0.99


def _broken_index(path: Path) -> None:
    write_video(path, two_noises(3))
    content = bytearray(path.read_bytes())
    index = content.rindex(b"moov")
    content[index + 100 : index + 1100] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)


def _text(path: Path) -> None:
    path.write_text("Dear library, this is no video.\n" * 50)


def _too_many_channels(path: Path) -> None:
    import av

    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = output.add_stream("pcm_s16le", rate=RATE, layout="hexadecagonal")
        for i in range(20):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            output.mux(video.encode(picture))
            samples = np.zeros((1, 16 * RATE // 10), np.int16)
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="hexadecagonal")
            block.sample_rate, block.pts = RATE, i * RATE // 10
            output.mux(audio.encode(block))
        output.mux(video.encode(None))


def _cover_art(path: Path) -> None:
    """Sound with a picture of its record's cover."""
    import av

    with av.open(str(path), "w", format="mp4") as output:
        audio = output.add_stream("aac", rate=RATE, layout="mono")
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(cover.encode(picture.reformat(format="yuvj420p")))
        block = av.AudioFrame.from_ndarray(
            np.zeros((1, 2 * RATE), np.float32), format="fltp", layout="mono"
        )
        block.sample_rate = RATE
        output.mux(audio.encode(block))
        output.mux(audio.encode(None))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "mute.mp4": (lambda path: write_video(path, None), "it has no sound track"),
    "blind.mov": (lambda path: write_video(path, two_noises(3), pictures=False), "no pictures"),
    "cover.mp4": (_cover_art, "it has no pictures"),
    "cut.mov": (
        lambda path: cut_off(write_video(path, two_noises(3)), 0.6),
        "no video, or cut off before its index",
    ),
    "index.mov": (_broken_index, "no video|no pictures|no sound track|damaged|shorter"),
    "empty.mp4": (lambda path: path.touch(), r"the file is empty \(0 bytes\)"),
    "text.mp4": (_text, "no video, or cut off before its index"),
    "junk.mkv": (
        lambda path: path.write_bytes(np.random.default_rng(1).bytes(20_000)),
        "no video, or cut off before its index",
    ),
    "gone.mp4": (lambda path: path.symlink_to("nowhere.mp4"), "the file is not there any more"),
    "pipe.mp4": (os.mkfifo, "it is a named pipe, not a regular file"),
    "many.mkv": (_too_many_channels, "it has 16 channels, FLAC holds at most 8; mix it down"),
    "blink.mov": (
        lambda path: write_video(path, two_noises(0.5), seconds=0.5),
        "it is shorter than 1 s",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_video_is_one_problem(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    make(tmp_path / name)
    clips, problem = read(tmp_path / name)
    assert clips == []
    assert problem is not None and problem.file == name
    import re

    assert re.search(reason, problem.reason), problem.reason


# Folders.


def _make_folder(folder: Path) -> None:
    write_video(folder / "b" / "two.mov", two_noises(4), seconds=4)
    write_video(folder / "a.mkv", two_noises(2), seconds=2)
    for name in ("mute.mp4", "text.mp4", "empty.mp4"):
        BAD[name][0](folder / name)
    (folder / "notes.txt").write_text("no video, and not said to be one")
    (folder / "._a.mkv").touch()


def test_a_folder_of_videos_becomes_shards(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    _make_folder(videos)
    progress = Recorded()
    report = extract(videos, out, THREE_S, examples_per_shard=2, n_workers=2, progress=progress)
    assert [stage.what for stage in progress.stages] == ["finding videos", "sources"]
    assert progress.stage("sources").statuses[-1] == f"{report.n_examples} examples"
    assert (report.n_examples, report.n_shards, report.n_sources, report.n_problems) == (3, 2, 5, 3)
    folder = ShardFolder(out)
    facts = [folder.open(n).facts(i) for n in range(2) for i in range(folder.counts[n])]
    assert [(fact.source, fact.begin_s, fact.end_s) for fact in facts] == [
        ("a.mkv", 0.0, 2.0),
        (os.path.join("b", "two.mov"), 0.0, 3.0),
        (os.path.join("b", "two.mov"), 3.0, 4.0),
    ]
    told = list(read_problems(out))
    assert progress.notes == [
        f"{'partly used' if p.n_examples else 'skipped'} {p.file}: {p.reason}" for p in told
    ]
    assert [problem.file for problem in told] == ["empty.mp4", "mute.mp4", "text.mp4"]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    _make_folder(tmp_path / "videos")
    for n in (1, 4):
        extract(tmp_path / "videos", tmp_path / str(n), THREE_S, examples_per_shard=2, n_workers=n)
    for path in sorted((tmp_path / "1").glob("*.tar")):
        assert (tmp_path / "4" / path.name).read_bytes() == path.read_bytes()


def test_other_videos_or_options_are_refused(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_video(videos / "a.mkv", two_noises(2), seconds=2)
    extract(videos, out, THREE_S)
    assert extract(videos, out, THREE_S).n_new == 0
    with pytest.raises(SoundsearchError, match=r"\(n_frames was 4, is now 2\)"):
        extract(videos, out, ExtractConfig(example_s=3.0, n_frames=2))
    write_video(videos / "a.mkv", two_noises(3))
    with pytest.raises(SoundsearchError, match=r"videos_digest was .* is now"):
        extract(videos, out, THREE_S)
    write_video(videos / "b.mkv", two_noises(2), seconds=2)
    with pytest.raises(SoundsearchError, match="videos was 1, is now 2"):
        extract(videos, out, THREE_S)


def test_a_csv_of_segments_names_the_clips(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    _make_folder(videos)
    segments = tmp_path / "segments.csv"
    segments.write_text(
        "file,begin_s,end_s,caption,labels\n"
        "b/two.mov,1,2.5,rain,water; weather\n"
        "a.mkv,0,1,wind,\n"
        "b/two.mov,0,1,first,\n"
        "nowhere.mp4,0,1,gone,\n"
        'b/two.mov,1.0,2.5,"rain, again",water\n',
        encoding="utf-8",
    )
    report = extract(videos, out, THREE_S, segments=segments, n_workers=2)
    shard = ShardFolder(out).open(0)
    facts = [shard.facts(i) for i in range(len(shard))]
    assert [(fact.source, fact.begin_s, fact.end_s) for fact in facts] == [
        ("b/two.mov", 0.0, 1.0),
        ("b/two.mov", 1.0, 2.5),
        ("a.mkv", 0.0, 1.0),
    ]
    assert (facts[1].captions, facts[1].labels) == (("rain", "rain, again"), ("water", "weather"))
    assert (report.n_sources, report.n_problems) == (3, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,start,end\na,0,1\n", "columns begin_s, end_s are missing, found file, start, end"),
        (
            "file,begin_s,end_s\na,0,1\na,x,1\n",
            r"line 3: begin_s must be a number of seconds, not 'x'",
        ),
        ("file,begin_s,end_s\na,2,1\n", "line 2: need 0 <= begin_s < end_s, not 2 and 1"),
        ("file,begin_s,end_s\n,0,1\n", "line 2: file is empty"),
        ("file,begin_s,end_s\na,0\n", "line 2 has 2 cells, expected 3"),
        ("file,begin_s,end_s\n", "holds no rows"),
    ],
)
def test_bad_segments_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "segments.csv").write_text(text)
    with pytest.raises(SoundsearchError, match=message):
        extract(tmp_path, tmp_path / "out", THREE_S, segments=tmp_path / "segments.csv")
    assert not (tmp_path / "out").exists()


def test_no_videos_is_told(tmp_path: Path) -> None:
    with pytest.raises(SoundsearchError, match="holds no videos"):
        find_videos(tmp_path)
    with pytest.raises(SoundsearchError, match="no such folder"):
        find_videos(tmp_path / "nowhere")


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="need 0 < shortest_s <= example_s"):
        ExtractConfig(example_s=0.5)
    with pytest.raises(ValueError, match="quality"):
        ExtractConfig(quality=0)


@pytest.mark.data
def test_the_real_videos(tmp_path: Path, data_folder: Path) -> None:
    report = extract(data_folder / "videos", tmp_path, ExtractConfig(), n_workers=2)
    with open(data_folder / "videos" / "videos.csv", encoding="utf-8", newline="") as file:
        lengths_s = [float(row["seconds"]) for row in csv.DictReader(file)]
    # Clips of ten seconds, and a remainder of a second or more.
    n_clips = sum(int(length_s // 10) + (length_s % 10 >= 1) for length_s in lengths_s)
    assert (report.n_sources, report.n_examples, report.n_problems) == (len(lengths_s), n_clips, 0)
    shard = ShardFolder(tmp_path).open(0)
    for i in range(len(shard)):
        facts = shard.facts(i)
        channels, sample_rate = shard.audio(i)
        assert sample_rate == facts.sample_rate >= 22050
        assert channels.shape[1] == round((facts.end_s - facts.begin_s) * sample_rate)
        assert np.abs(channels).max() > 0.01
        wanted = frame_times(facts.begin_s, facts.end_s, 4)
        assert np.all(np.abs(np.array(facts.frame_times_s) - wanted) < 0.15)
        for frame in shard.frames(i):
            with Image.open(io.BytesIO(frame)) as image:
                assert 100 < min(image.size) <= 256
