from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from soundsearch.audio.recording import AudioFile
from soundsearch.audio.windows import Window
from soundsearch.demo import shipped_recordings
from soundsearch.encoder import towers as encoder_module
from soundsearch.encoder.bundle import EncoderBundle, TextConfig
from soundsearch.encoder.registry import SHIPPED, find_bundle
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, BundleError, Cause, SoundsearchError
from soundsearch.files import sha256_of
from tests import program, sounds
from tests.tiny_encoder import BAND_HZ, WORDS, write_tiny_bundle

Array = NDArray[np.float32]


@pytest.fixture
def encoder(tiny: EncoderBundle) -> Encoder:
    return Encoder(tiny, "cpu", n_threads=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """For Hypothesis, which runs many examples in one test."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return Encoder(write_tiny_bundle(folder), "cpu", n_threads=1)


def _assert_unit(embeddings: Array, n: int) -> None:
    assert embeddings.shape == (n, len(WORDS)) and embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)


def _windows(n: int) -> list[Window]:
    return [Window(float(i), i + 1.0, sounds.noise(1.0, seed=i)) for i in range(n)]


# ---- text


def test_a_text_points_at_its_words(encoder: Encoder) -> None:
    embeddings = encoder.embed_text(WORDS)
    _assert_unit(embeddings, len(WORDS))
    assert embeddings.argmax(axis=1).tolist() == list(range(len(WORDS)))


texts = st.lists(
    st.lists(st.sampled_from([*WORDS, "unheard", "of"]), min_size=1, max_size=6).map(" ".join),
    max_size=5,
)


@given(texts=texts)
def test_texts_do_not_see_each_other(shared: Encoder, texts: list[str]) -> None:
    together = shared.embed_text(texts)
    assert together.shape == (len(texts), 8)
    for text, embedding in zip(texts, together, strict=True):
        np.testing.assert_allclose(shared.embed_text([text])[0], embedding, atol=1e-6)


def test_many_texts_come_back_in_their_order(encoder: Encoder) -> None:
    many = [WORDS[i % 8] for i in range(75)]  # more than two batches
    embeddings = encoder.embed_text(many)
    _assert_unit(embeddings, 75)
    assert embeddings.argmax(axis=1).tolist() == [i % 8 for i in range(75)]


def test_a_text_is_cut_at_max_tokens(encoder: Encoder) -> None:
    sixteen = " ".join(["hum"] * 16)
    cut, whole = encoder.embed_text([sixteen + " hiss hiss hiss", sixteen])
    np.testing.assert_array_equal(cut, whole)
    seen = encoder.embed_text([" ".join(["hum"] * 15) + " hiss"])[0]
    assert seen[7] > whole[7] + 0.01


def test_a_shorter_limit_cuts_earlier(tiny: EncoderBundle) -> None:
    short = Encoder(dataclasses.replace(tiny, text=TextConfig(max_tokens=1)), "cpu")
    np.testing.assert_array_equal(short.embed_text(["hum hiss"]), short.embed_text(["hum"]))


# ---- audio


@pytest.mark.parametrize("word", WORDS)
def test_a_tone_points_at_its_word(encoder: Encoder, tmp_path: Path, word: str) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(BAND_HZ[WORDS.index(word)], 1.75))

    spans, embeddings = encoder.embed_file(path)

    assert spans == [(0.0, 1.0), (0.5, 1.5), (0.75, 1.75)]
    _assert_unit(embeddings, 3)
    scores = embeddings @ encoder.embed_text(WORDS).T
    assert {WORDS[i] for i in scores.argmax(axis=1)} == {word}


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=15)
@given(cuts=st.lists(st.integers(0, 20), max_size=4).map(sorted), seed=st.integers(0, 3))
def test_batches_change_nothing(shared: Encoder, cuts: list[int], seed: int) -> None:
    features = shared.features_of(_windows(20), 8000)
    order = np.random.default_rng(seed).permutation(20)
    whole = shared.embed_features(features)

    parts = [shared.embed_features(part) for part in np.split(features[order], cuts) if len(part)]

    np.testing.assert_allclose(np.concatenate(parts), whole[order], atol=1e-6)


def test_the_same_file_gives_the_same_bits(encoder: Encoder, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.ogg", sounds.noise(40.0, 44100), 44100)
    spans, embeddings = encoder.embed_file(path)
    again, embeddings_again = Encoder(encoder.bundle, "cpu").embed_file(path)
    assert len(spans) == 79 and spans == again  # three batches
    np.testing.assert_array_equal(embeddings, embeddings_again)


def test_the_number_of_windows_at_a_time_changes_nothing(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(6.0))
    spans, embeddings = encoder.embed_file(path)
    monkeypatch.setattr(encoder_module, "BATCH_SIZE", 3)

    again, embeddings_again = encoder.embed_file(path)

    assert spans == again and len(spans) == 11
    np.testing.assert_allclose(embeddings_again, embeddings, atol=1e-6)


def test_silent_windows_are_left_out(encoder: Encoder, tmp_path: Path) -> None:
    pause = np.zeros(3 * 8000, np.float32)
    recording = np.concatenate([sounds.noise(1.0), pause, sounds.noise(1.0)])
    path = sounds.write(tmp_path / "a.wav", recording)
    spans, embeddings = encoder.embed_file(path)
    assert spans == [(0.0, 1.0), (0.5, 1.5), (3.5, 4.5), (4.0, 5.0)]
    _assert_unit(embeddings, 4)


def test_a_silent_recording_has_nothing_to_embed(encoder: Encoder, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", np.zeros(16_000, np.float32))
    with pytest.raises(AudioError, match="silent") as caught:
        encoder.embed_file(path)
    assert caught.value.cause is Cause.SILENT


@pytest.mark.parametrize(
    ("codec", "container", "rate"),
    [
        ("libmp3lame", "mp3", 44100),
        ("mp2", "mp2", 44100),
        ("aac", "adts", 44100),
        ("libopus", "ogg", 48000),
        ("wmav2", "asf", 44100),
        ("ac3", "ac3", 48000),  # noise of -101 dBFS
        ("eac3", "eac3", 48000),
        ("pcm_alaw", "wav", 8000),  # a constant of -72 dBFS
        ("pcm_mulaw", "wav", 8000),
        ("pcm_u8", "wav", 8000),
    ],
)
def test_what_codecs_make_of_digital_silence_is_silent(
    encoder: Encoder, tmp_path: Path, codec: str, container: str, rate: int
) -> None:
    path = sounds.encode(tmp_path / "a", np.zeros(3 * rate, np.float32), rate, codec, container)
    with pytest.raises(AudioError, match="silent from beginning to end"):
        encoder.embed_file(path)


@pytest.mark.parametrize("clip", ["windows", "centre"])
@pytest.mark.parametrize(
    ("level_db", "subtype", "is_sound"),
    [
        (-89, "PCM_16", True),
        (-96, "PCM_24", True),
        (-130, "FLOAT", True),
        (-140, "FLOAT", False),  # less than a step of 24 bits
    ],
)
def test_quiet_is_not_silent(
    tiny: EncoderBundle, tmp_path: Path, level_db: float, subtype: str, is_sound: bool, clip: str
) -> None:
    tone = sounds.tone(BAND_HZ[3], 2.0, level=10 ** (level_db / 20))
    path = sounds.write(tmp_path / "a.wav", tone, subtype=subtype)
    encoder = _with(tiny, clip=clip)
    if is_sound:
        _assert_unit(encoder.embed_clip(path)[None], 1)
    else:
        with pytest.raises(AudioError, match="silent from beginning to end"):
            encoder.embed_clip(path)


def test_16_bit_dither_is_sound(encoder: Encoder, tmp_path: Path) -> None:
    dither = np.random.default_rng(0).integers(-1, 2, 16_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", dither, 8000)
    assert len(encoder.embed_file(tmp_path / "a.wav")[0]) == 3


def test_embeddings_do_not_fall_with_the_level(tmp_path: Path) -> None:
    """The shipped encoder, on recordings of the demo: below -60 dBFS all levels are one."""
    starter = Encoder(EncoderBundle.read(SHIPPED / "starter"), "cpu", n_threads=1)
    for recording in shipped_recordings()[::10]:
        waveform, rate = soundfile.read(recording, frames=96_000, dtype="float32", always_2d=True)
        waveform = waveform[:, 0] / np.abs(waveform[:, 0]).max()
        found = {}
        for level_db in (0, -60, -80, -100, -120):
            path = tmp_path / f"{level_db}.wav"
            sounds.write(path, waveform * np.float32(10 ** (level_db / 20)), rate, "FLOAT")
            found[level_db] = starter.embed_clip(path)
        for level_db in (-80, -100, -120):
            assert found[level_db] @ found[-60] > 0.99
            assert found[level_db] @ found[0] > 0.4


def test_very_loud_samples_still_embed(encoder: Encoder, tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.noise(1.0) * np.float32(1e12), subtype="FLOAT")
    _assert_unit(encoder.embed_file(path)[1], 1)


# ---- clips


def _with(bundle: EncoderBundle, **audio: object) -> Encoder:
    """The tiny encoder with another rule for its audio."""
    changed = dataclasses.replace(bundle.audio, **audio)  # type: ignore[arg-type]
    return Encoder(dataclasses.replace(bundle, audio=changed), "cpu", n_threads=1)


def _words(encoder: Encoder, *embeddings: Array) -> list[str]:
    scores = np.stack(embeddings) @ encoder.embed_text(WORDS).T
    return [WORDS[i] for i in scores.argmax(axis=1)]


def _three_tones(path: Path) -> Path:
    """A second of rumble, one of beep, one of hiss, and nearly silence between and around."""
    parts = [sounds.tone(BAND_HZ[WORDS.index(word)], 1.0) for word in ("rumble", "beep", "hiss")]
    return sounds.write(path, np.concatenate(parts))


def test_a_clip_is_the_mean_of_its_windows(encoder: Encoder, tmp_path: Path) -> None:
    path = _three_tones(tmp_path / "a.wav")

    embedding = encoder.embed_clip(path)

    _assert_unit(embedding[None], 1)
    _, windows = encoder.embed_file(path)
    assert len(windows) == 5
    mean = windows.mean(axis=0)
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_clip_is_the_stretch_at_its_centre(tiny: EncoderBundle, tmp_path: Path) -> None:
    path = _three_tones(tmp_path / "a.wav")
    centre = _with(tiny, clip="centre")

    embedding = centre.embed_clip(path)

    _assert_unit(embedding[None], 1)
    assert _words(centre, embedding) == ["beep"]
    _, windows = centre.embed_file(path)  # windows stay as they were
    np.testing.assert_array_equal(windows, Encoder(tiny, "cpu", n_threads=1).embed_file(path)[1])
    np.testing.assert_allclose(embedding, windows[2], atol=1e-6)


def test_trap_6_a_clip_with_a_quiet_centre_is_heard_at_its_beginning(
    tiny: EncoderBundle, tmp_path: Path
) -> None:
    waveform = np.concatenate([sounds.tone(BAND_HZ[0]), 0.01 * sounds.tone(BAND_HZ[7], 2.0)])
    path = sounds.write(tmp_path / "a.wav", waveform)
    centre = _with(tiny, clip="centre")
    assert _words(centre, centre.embed_clip(path)) == ["rumble"]


def test_trap_3_a_clip_is_heard_on_its_first_channel(tiny: EncoderBundle, tmp_path: Path) -> None:
    """All channels choose the stretch: the loud beginning of the second one decides."""
    first = np.concatenate([sounds.tone(BAND_HZ[WORDS.index(w)], 1.0) for w in ("hum", "beep")])
    second = np.concatenate([10 * sounds.tone(BAND_HZ[7], 0.5), np.zeros(12_000, np.float32)])
    silence = np.zeros(4000, np.float32)
    channels = np.stack([np.append(first, silence), np.append(second, silence)], axis=1)
    path = sounds.write(tmp_path / "a.wav", channels, subtype="FLOAT")
    alone = sounds.write(tmp_path / "alone.wav", channels[:, 0], subtype="FLOAT")

    rule = _with(tiny, clip="centre", channels="first", short="keep", sample_rate=None)

    both, one = rule.embed_clip(path), rule.embed_clip(alone)
    assert _words(rule, both) == ["hum"]
    with AudioFile(alone) as file:
        sound = file.all_channels()[0]
    centre = rule.features_of([Window(0.75, 1.75, sound[6000:14_000])], 8000)
    np.testing.assert_allclose(one, rule.embed_features(centre)[0], atol=1e-6)


def test_windows_are_heard_on_the_first_channel(tiny: EncoderBundle, tmp_path: Path) -> None:
    channels = np.stack([sounds.tone(BAND_HZ[1]), 10 * sounds.tone(BAND_HZ[6])], axis=1)
    path = sounds.write(tmp_path / "a.wav", channels, subtype="FLOAT")
    for rule, word in (("first", "hum"), ("mean", "squeak")):
        other = _with(tiny, channels=rule)
        assert _words(other, *other.embed_file(path)[1]) == [word]


@pytest.mark.parametrize("clip", ["windows", "centre"])
@pytest.mark.parametrize(
    ("seconds", "level", "cause"), [(2.0, 0.0, Cause.SILENT), (0.005, 0.1, Cause.TOO_SHORT)]
)
def test_clips_that_cannot_be_used(
    tiny: EncoderBundle, tmp_path: Path, clip: str, seconds: float, level: float, cause: Cause
) -> None:
    path = sounds.write(tmp_path / "a.wav", level * sounds.tone(440.0, seconds))
    with pytest.raises(AudioError) as caught:
        _with(tiny, clip=clip).embed_clip(path)
    assert caught.value.cause is cause


# ---- text as the tower gives it


def test_trap_11_texts_keep_their_length_where_a_protocol_wants_it(encoder: Encoder) -> None:
    texts = ["hum", "hum hum hum", "hiss beep"] * 20  # more than one batch

    raw = encoder.embed_text(texts, normalise=False)

    assert raw.dtype == np.float32
    np.testing.assert_allclose(raw[:3, WORDS.index("hum")], [1.0, 3.0, 0.02], atol=1e-6)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.embed_text(texts), unit, atol=1e-6)


# ---- what does not fit


@pytest.mark.parametrize("shape", [(8, 98), (1, 8, 97), (1, 9, 98), (1, 1, 8, 98)])
def test_features_of_another_shape_are_refused(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(n, 8, 98\)"):
        encoder.embed_features(np.zeros(shape, np.float32))


# ---- bundles that do not fit


def _replace_file(bundle: EncoderBundle, name: str, content: bytes) -> EncoderBundle:
    (bundle.folder / name).write_bytes(content)
    return dataclasses.replace(
        bundle, files={**bundle.files, name: sha256_of(bundle.folder / name)}
    )


def test_a_tower_that_is_no_onnx_file(tiny: EncoderBundle) -> None:
    other = Encoder(_replace_file(tiny, "text.onnx", b"no network at all"), "cpu")
    with pytest.raises(BundleError, match=r"text\.onnx: onnxruntime cannot load it"):
        other.embed_text(["hum"])


def test_a_tokenizer_that_is_none(tiny: EncoderBundle) -> None:
    other = Encoder(_replace_file(tiny, "tokenizer.json", b"{}"), "cpu")
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer"):
        other.embed_text(["hum"])


def test_a_damaged_tower_is_not_loaded(tiny: EncoderBundle) -> None:
    (tiny.folder / "audio.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"audio\.onnx: damaged"):
        Encoder(tiny, "cpu").embed_features(np.zeros((1, 8, 98), np.float32))


def test_a_text_query_never_opens_the_audio_tower(tiny: EncoderBundle) -> None:
    (tiny.folder / "audio.onnx").unlink()
    assert Encoder(tiny, "cpu").embed_text(["hum"]).shape == (1, 8)


def test_another_dimension_than_promised(tiny: EncoderBundle) -> None:
    other = Encoder(dataclasses.replace(tiny, dim=9), "cpu")
    with pytest.raises(BundleError, match=r"expected 1 finite embeddings of 9 numbers.*\(1, 8\)"):
        other.embed_text(["hum"])


def test_embeddings_that_are_no_numbers(encoder: Encoder) -> None:
    with pytest.raises(BundleError, match="finite"):
        encoder.embed_features(np.full((1, 8, 98), np.nan, np.float32))


def test_cuda_without_cuda_is_one_clear_error(
    tiny: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = load_onnxruntime()

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SoundsearchError, match=r"--device cuda.*--device cpu") as caught:
        Encoder(tiny, "cuda").embed_text(["hum"])
    assert type(caught.value) is SoundsearchError
    assert Encoder(tiny, "auto").embed_text(["hum"]).shape == (1, 8)


# ---- long and odd texts


def test_texts_longer_than_the_text_tower_reads_are_known(tiny: EncoderBundle) -> None:
    encoder = Encoder(tiny, "cpu")
    texts = ["hum", "hum " * 16, "hum " * 17, ""] * 20  # more than a batch
    assert encoder.truncated(texts).tolist() == [False, False, True, False] * 20
    assert encoder.truncated([]).shape == (0,)
    np.testing.assert_array_equal(*encoder.embed_text(["hum " * 17 + "hiss", "hum " * 16]))


@pytest.mark.parametrize(
    "text",
    [
        "dog " * 250_000,
        "a" * 1_000_000,
        "." * 1_000_000,
        "\0" * 1_000_000,
        "\ud800\udcff",
        "雨" * 9,
    ],
    ids=["words", "one word", "marks", "zeros", "surrogates", "foreign"],
)
def test_the_starter_takes_any_text(text: str) -> None:
    encoder = Encoder(find_bundle("starter"), "cpu")
    (embedding,) = encoder.embed_text([text])
    assert abs(np.linalg.norm(embedding) - 1) < 1e-5
    assert encoder.truncated([text])[0] == (len(text) > 100)


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """From version 1.32 on it would write a database for that into the home folder."""
    program_text = (
        "from soundsearch.encoder.towers import Encoder; from soundsearch.encoder.registry import find_bundle\n"
        "Encoder(find_bundle('starter')).embed_text(['dog'])"
    )
    command = [sys.executable, "-c", program_text]
    env = program.environment(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    env.pop("ORT_DISABLE_TELEMETRY", None)
    result = subprocess.run(command, env=env, capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")
    assert list(tmp_path.iterdir()) == []
