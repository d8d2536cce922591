"""The frozen CLIP over shards: the right row for the right clip, once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.recorded import Recorded, Stage
from tests.sounds import tone
from tests.trainer.made_shards import flac
from tests.trainer.tiny_clip import jpeg, write_tiny_clip
from trainer import embed_shards
from trainer.data.example import Example, ExampleFacts, ShardError
from trainer.data.shard_folder import ShardFolder
from trainer.data.shard_writer import write_shards
from trainer.data.vectors import ShardVectors, VectorsFacts, vectors_path, write_vectors
from trainer.embed_shards import EmbedError, Report, embed_captions, embed_images
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip

SOUND = flac(tone(440, 0.1))
CUT = jpeg(9)[:-400]  # begins as a JPEG does, and ends too soon


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> ClipChoice:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(choice: ClipChoice) -> FrozenClip:
    return load_clip(choice)


def packed(
    frames: Sequence[bytes] = (), captions: Sequence[str] = (), labels: Sequence[str] = ()
) -> Example:
    facts = ExampleFacts("made.wav", 0.0, 0.1, 8000, (), tuple(captions), tuple(labels))
    return Example(facts, SOUND, tuple(frames))


def shards_of(clips: Sequence[Example], examples_per_shard: int = 3) -> Path:
    folder = Path("shards")
    write_shards(clips, folder, examples_per_shard=examples_per_shard)
    return folder


def stored(folder: Path, kind: str, clip: FrozenClip) -> list[np.ndarray]:
    """The rows of every clip, in order."""
    shards = ShardFolder(folder)
    rows = []
    for n, path in enumerate(shards.shards):
        found = ShardVectors(vectors_path(path, kind, clip.encoder), shards.open(n).digest)
        rows.extend(found.of(i) for i in range(len(found)))
    return rows


def seen(clip: FrozenClip, *seeds: int) -> np.ndarray:
    return clip.embed_images([Image.open(io.BytesIO(jpeg(seed))) for seed in seeds])


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=4e-3, rtol=1e-3)  # kept in float16


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_frame_gets_its_row(clip: FrozenClip, batch_size: int) -> None:
    clips = [packed([jpeg(10 * i + j) for j in range(i % 3)]) for i in range(7)]
    folder = shards_of(clips)
    progress = Recorded()
    report = embed_images(folder, clip, batch_size=batch_size, progress=progress)
    rows = stored(folder, "images", clip)
    assert [len(row) for row in rows] == [0, 1, 2, 0, 1, 2, 0]
    for i, row in enumerate(rows):
        close(row, seen(clip, *(10 * i + j for j in range(i % 3))))
    assert report == Report(n_done=3, n_examples=7, n_rows=6, n_empty=3)
    assert (progress.stage("shards").total, progress.notes) == (3, [])
    assert progress.stage("shards").done == pytest.approx(3)


def test_a_side_file_says_whose_it_is(clip: FrozenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards_of([packed([jpeg()])])
    embed_images(folder, clip)
    path = vectors_path(folder / "shard-000000.tar", "images", clip.encoder)
    assert ShardVectors(path, None).facts == VectorsFacts(
        "images", clip.encoder, clip.choice.model, clip.choice.pretrained, clip.fingerprint, 16
    )


def test_files_are_named_in_full_to_be_found_again() -> None:
    write_tiny_clip(Path("models"))
    clip = load_clip(
        ClipChoice(model="models/tiny-clip.json", pretrained="models/tiny-clip-0.safetensors")
    )
    folder = shards_of([packed([jpeg()])])
    embed_images(folder, clip)
    facts = ShardVectors(
        vectors_path(folder / "shard-000000.tar", "images", clip.encoder), None
    ).facts
    assert Path(facts.model).is_absolute() and Path(facts.pretrained).is_absolute()


def test_a_second_run_does_nothing(clip: FrozenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards_of([packed([jpeg(i)]) for i in range(4)])
    embed_images(folder, clip)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(clip, "embed_pixels", None)
    progress = Recorded()
    assert embed_images(folder, clip, progress=progress) == Report(n_ready=2)
    assert progress.stage("shards").done == progress.stage("shards").total == 2
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_stopped_run_goes_on(clip: FrozenClip) -> None:
    def stop(shards: Stage) -> None:
        if shards.done >= 1.5:
            raise KeyboardInterrupt

    folder = shards_of([packed([jpeg(i)]) for i in range(8)])
    with pytest.raises(KeyboardInterrupt):
        embed_images(folder, clip, batch_size=1, progress=Recorded(stop))
    assert len(list(folder.glob("*.safetensors"))) == 1
    assert not list(folder.glob("*.part"))
    report = embed_images(folder, clip)
    assert (report.n_ready, report.n_done) == (1, 2)
    for i, row in enumerate(stored(folder, "images", clip)):
        close(row, seen(clip, i))


def test_what_does_not_fit_is_made_again(clip: FrozenClip, tmp_path: Path) -> None:
    folder = shards_of([packed([jpeg(i)]) for i in range(4)], examples_per_shard=1)
    embed_images(folder, clip)
    paths = [vectors_path(path, "images", clip.encoder) for path in ShardFolder(folder).shards]
    paths[0].write_bytes(paths[0].read_bytes()[:-3])
    paths[1].unlink()
    write_shards([packed([jpeg(77)])], folder, first=2)  # another clip in the third shard
    report = embed_images(folder, clip)
    assert (report.n_ready, report.n_done) == (1, 3)
    for row, seed in zip(stored(folder, "images", clip), (0, 1, 77, 3), strict=True):
        close(row, seen(clip, seed))
    other = load_clip(write_tiny_clip(tmp_path, seed=1))
    assert embed_images(folder, other).n_done == 4
    assert len(list(folder.glob("*.safetensors"))) == 8


def test_a_frame_that_cannot_be_decoded_is_left_out(clip: FrozenClip) -> None:
    folder = shards_of([packed([jpeg(1), CUT, jpeg(2)]), packed([CUT]), packed([jpeg(3)])])
    progress = Recorded()
    report = embed_images(folder, clip, progress=progress)
    first, second, third = stored(folder, "images", clip)
    close(first, seen(clip, 1, 2))
    assert second.shape == (0, 16)
    close(third, seen(clip, 3))
    assert (report.n_bad, report.n_empty, report.n_rows) == (2, 1, 3)
    assert len(progress.notes) == 2
    assert (
        "shard-000000.tar: image 1 of example 000000-00000: cannot be decoded ("
        in progress.notes[0]
    )
    assert "image 0 of example 000000-00001" in progress.notes[1]
    assert not any("\n" in line for line in progress.notes)


def test_a_damaged_shard_costs_one_line(clip: FrozenClip) -> None:
    folder = shards_of([packed([jpeg(i)]) for i in range(3)], examples_per_shard=1)
    middle = folder / "shard-000001.tar"
    middle.write_bytes(middle.read_bytes()[:1500])
    progress = Recorded()
    report = embed_images(folder, clip, progress=progress)
    assert (report.n_done, report.n_failed) == (2, 1)
    assert len(progress.notes) == 1
    assert progress.notes[0].startswith(f"skipped {middle}: the tar file is cut off")


def test_nothing_to_embed_is_one_clear_line(clip: FrozenClip) -> None:
    with pytest.raises(ShardError, match="no such folder"):
        embed_images(Path("nowhere"), clip)
    folder = shards_of([packed([CUT]), packed()])
    with pytest.raises(EmbedError, match="no example has an image"):
        embed_images(folder, clip)
    for texts, what in (
        ("captions", "captions"),
        ("labels", "labels"),
        ("labels-joined", "labels"),
    ):
        with pytest.raises(EmbedError, match=f"no example has {what}"):
            embed_captions(folder, clip, texts)  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written_ends_the_run(clip: FrozenClip) -> None:
    folder = shards_of([packed([jpeg(i)]) for i in range(2)], examples_per_shard=1)
    vectors_path(folder / "shard-000000.tar", "images", clip.encoder).mkdir()
    with pytest.raises(ShardError, match="cannot be written"):
        embed_images(folder, clip)


TEXTS = [
    packed(captions=["rain on a roof", "wet weather"], labels=["Rain", "roof_tiles"]),
    packed(captions=["  "], labels=[]),
    packed(captions=["a dog barks"], labels=["Dog"]),
    packed(captions=["rain on a roof"], labels=["Rain", "roof_tiles"]),
]
EXPECTED = {
    "captions": [["rain on a roof", "wet weather"], [], ["a dog barks"], ["rain on a roof"]],
    "labels": [
        ["the sound of rain", "the sound of roof tiles"],
        [],
        ["the sound of dog"],
        ["the sound of rain", "the sound of roof tiles"],
    ],
    "labels-joined": [
        ["the sound of rain, roof tiles"],
        [],
        ["the sound of dog"],
        ["the sound of rain, roof tiles"],
    ],
}


@pytest.mark.parametrize("texts", ["captions", "labels", "labels-joined"])
@pytest.mark.parametrize("n_kept", [0, 1, 100])
def test_every_text_gets_its_row_and_is_embedded_once(
    clip: FrozenClip, texts: str, n_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_shards, "CACHED_TEXTS", n_kept)
    folder = shards_of(TEXTS)  # the last clip is in a shard of its own
    read: list[str] = []
    tokenizer = clip.tokenizer
    monkeypatch.setattr(clip, "tokenizer", lambda some: read.extend(some) or tokenizer(some))
    progress = Recorded()
    report = embed_captions(folder, clip, texts, progress=progress)  # type: ignore[arg-type]
    expected = EXPECTED[texts]
    distinct = {text for row in expected for text in row}
    if n_kept == 100:
        assert sorted(read) == sorted(distinct)
    for row, wanted in zip(stored(folder, texts, clip), expected, strict=True):
        close(row, clip.embed_texts(wanted))
    assert (report.n_rows, report.n_empty) == (sum(map(len, expected)), 1)
    assert progress.stage("shards").done == progress.stage("shards").total == 2


def test_another_prompt_embeds_labels_anew_and_captions_not(clip: FrozenClip) -> None:
    folder = shards_of(TEXTS)
    assert embed_captions(folder, clip, "labels").n_done == 2
    assert embed_captions(folder, clip, "labels").n_ready == 2
    assert embed_captions(folder, clip, "labels", prompt="{}").n_done == 2
    close(stored(folder, "labels", clip)[2], clip.embed_texts(["dog"]))
    assert embed_captions(folder, clip, "captions").n_done == 2
    assert embed_captions(folder, clip, "captions", prompt="any {}").n_ready == 2


@pytest.mark.parametrize("prompt", ["the sound", "{} and {}"])
def test_a_prompt_has_one_place_for_the_label(clip: FrozenClip, prompt: str) -> None:
    with pytest.raises(EmbedError, match=r"must hold \{\} once"):
        embed_captions(shards_of(TEXTS), clip, "labels", prompt=prompt)


def test_a_run_elsewhere_with_the_same_weights_is_not_repeated(
    clip: FrozenClip, tmp_path: Path
) -> None:
    folder = shards_of([packed([jpeg()])])
    embed_images(folder, clip)
    moved = load_clip(write_tiny_clip(tmp_path / "moved"))
    assert embed_images(folder, moved).n_ready == 1


def test_ids_of_audioset_are_prompted_by_their_names(clip: FrozenClip) -> None:
    labels = ["/m/09x0r", "/m/0912c9", "/m/no_such_class", "Dog_Bark"]
    folder = shards_of([packed(labels=labels), packed(labels=["/m/no_such_class"])])
    texts = [
        f"the sound of {name}" for name in ("speech", "vehicle horn, car horn, honking", "dog bark")
    ]
    progress = Recorded()
    report = embed_captions(folder, clip, "labels", progress=progress)
    assert (report.n_rows, report.n_empty) == (3, 1)
    close(stored(folder, "labels", clip)[0], clip.embed_texts(texts))
    assert progress.notes == [
        "skipped the label /m/no_such_class: no class of AudioSet has this id"
    ]
    embed_captions(folder, clip, "labels-joined")
    joined = "the sound of speech, vehicle horn, car horn, honking, dog bark"
    close(stored(folder, "labels-joined", clip)[0], clip.embed_texts([joined]))


def test_labels_that_were_embedded_as_ids_are_embedded_anew(clip: FrozenClip) -> None:
    folder = shards_of([packed(labels=["/m/09x0r"])])
    shard = ShardFolder(folder).open(0)
    facts = embed_shards.TextFacts(
        kind="labels", **embed_shards._encoder_facts(clip), prompt="the sound of {}"
    )
    path = vectors_path(shard.path, "labels", clip.encoder)
    write_vectors(path, [clip.embed_texts(["the sound of /m/09x0r"])], facts, shard.digest)
    assert embed_captions(folder, clip, "labels").n_done == 1
    close(stored(folder, "labels", clip)[0], clip.embed_texts(["the sound of speech"]))
    assert embed_captions(folder, clip, "labels").n_ready == 1
