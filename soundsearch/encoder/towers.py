"""The two towers on onnxruntime: windows and texts to unit embeddings in one space.

An `Encoder` is an `EncoderBundle` at work. Towers load when first needed, so a text query never
opens the audio tower. Nothing here is random: the same window gives the same embedding.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.clips import cut_clip
from soundsearch.audio.features import compute_features, compute_features_of, lifted
from soundsearch.audio.recording import WHOLLY_SILENT, AudioFile, Window, is_silent, read_windows
from soundsearch.choices import Device
from soundsearch.encoder.bundle import AUDIO_TOWER, TEXT_TOWER, TOKENIZER, EncoderBundle
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.errors import AudioError, BundleError, Cause, SoundsearchError

if TYPE_CHECKING:
    import tokenizers

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

#: Windows that go through the audio tower together.
BATCH_SIZE = 32
#: So much of a text is tokenised, far more than any text tower reads.
MAX_CHARACTERS = 100_000


class Encoder:
    """Embeds audio and text with one bundle.

    device: "auto" takes the GPU if this onnxruntime has one, else the CPU.
    n_threads: threads of onnxruntime for audio; 0 means one per core.
    """

    def __init__(self, bundle: EncoderBundle, device: Device = "auto", n_threads: int = 0) -> None:
        self.bundle = bundle
        self.device = device
        self._n_threads = n_threads

    def embed_features(self, features: Array) -> Array:
        """(n, n_mels, n_frames) float32 to unit embeddings (n, dim) float32."""
        expected = (self.bundle.features.n_mels, self.bundle.features.n_frames)
        if features.ndim != 3 or features.shape[1:] != expected:
            raise ValueError(
                f"features must be (n, {expected[0]}, {expected[1]}), not {features.shape}"
            )
        (embeddings,) = self._audio_tower.run(["embeddings"], {"features": features})
        return self._unit(self._checked(embeddings, len(features)))

    def features_of(self, windows: Sequence[Window], sample_rate: int) -> Array:
        """Features of windows at sample_rate Hz, (n, n_mels, n_frames) float32.

        Quiet windows are amplified, see `features.lifted`. Soonest done for windows of one
        recording in order: what two share is computed once.
        """
        placed = [(round(w.start_s * sample_rate), lifted(w.waveform)) for w in windows]
        return compute_features_of(placed, sample_rate, self.bundle.features)

    def embed_file(
        self, path: Path, *, whole: bool = False, name: str | None = None
    ) -> tuple[list[tuple[float, float]], Array]:
        """All windows of a recording that are not silent: their (start_s, end_s) and embeddings.

        whole: refuse a file that can only be decoded in part, where a number depends on it; else
        a warning is logged. name: what the warning calls the file, where that is not its path.
        Returns n spans and (n, dim) float32 with n >= 1. Raises AudioError.
        """
        spans: list[tuple[float, float]] = []
        embeddings: list[Array] = []
        with AudioFile(path) as file:
            rate = self.bundle.audio.rate_for(file.sample_rate)
            heard = (w for w in read_windows(file, self.bundle.audio) if not w.is_silent)
            while batch := list(itertools.islice(heard, BATCH_SIZE)):
                spans += [(w.start_s, w.end_s) for w in batch]
                embeddings.append(self.embed_features(self.features_of(batch, rate)))
            _warn_of(file, name or str(path), whole)
        if not spans:
            raise AudioError(Cause.SILENT, WHOLLY_SILENT)
        return spans, np.concatenate(embeddings)

    def embed_clip(self, path: Path, *, whole: bool = False) -> Array:
        """One embedding (dim,) float32 for a whole short recording, held in memory at once.

        By the bundle's rule: of the one stretch that stands for the clip (see `clips.py`), or the
        mean of its windows' embeddings, brought to unit length. whole, AudioError: as `embed_file`.
        """
        audio = self.bundle.audio
        if audio.clip == "windows":
            _, embeddings = self.embed_file(path, whole=whole)
            embeddings = self._unit(embeddings.mean(axis=0, keepdims=True))
            return embeddings.ravel()
        with AudioFile(path) as file:
            channels, rate, bits = file.all_channels(), file.sample_rate, file.bits
            _warn_of(file, str(path), whole)
        if is_silent(channels, bits):
            raise AudioError(Cause.SILENT, WHOLLY_SILENT)
        waveform = cut_clip(channels, rate, audio)
        features = compute_features(waveform, audio.rate_for(rate), self.bundle.features)
        return self.embed_features(features[None]).ravel()

    def embed_text(self, texts: Sequence[str], *, normalise: bool = True) -> Array:
        """Texts to unit embeddings (n, dim) float32, one after the other as given.

        Of a text that is longer than the text tower reads, the first tokens count: see `truncated`.
        normalise: False leaves them as long as the text tower makes them. Scores of a protocol
        that is defined so (VIP-ANT's on ESC-50 and UrbanSound8K) depend on these lengths.
        """
        if not texts:
            return np.empty((0, self.bundle.dim), np.float32)
        rows = []
        for i in range(0, len(texts), BATCH_SIZE):
            encodings = self._tokenised(texts[i : i + BATCH_SIZE])
            inputs = {
                "input_ids": np.array([e.ids for e in encodings], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encodings], np.int64),
            }
            wanted = {node.name for node in self._text_tower.get_inputs()}
            (embeddings,) = self._text_tower.run(
                ["embeddings"], {name: value for name, value in inputs.items() if name in wanted}
            )
            rows.append(self._checked(embeddings, len(encodings)))
        vectors = np.concatenate(rows)
        return self._unit(vectors) if normalise else vectors

    def truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which texts are longer than the text tower reads, (n,) bool: their ends have no effect."""
        is_cut: list[bool] = []
        for i in range(0, len(texts), BATCH_SIZE):
            some = texts[i : i + BATCH_SIZE]
            is_cut += [
                len(text) > MAX_CHARACTERS or bool(encoding.overflowing)
                for text, encoding in zip(some, self._tokenised(some), strict=True)
            ]
        return np.array(is_cut, np.bool_)

    def _tokenised(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        # Bytes that are no UTF-8 reach us as lone surrogates, which no tokenizer takes.
        clean = [t[:MAX_CHARACTERS].encode("utf-8", "replace").decode() for t in texts]
        return self._tokenizer.encode_batch(clean)

    def _checked(self, embeddings: Array, n: int) -> Array:
        if embeddings.shape != (n, self.bundle.dim) or not np.isfinite(embeddings).all():
            raise BundleError(
                f"encoder {self.bundle.name}: expected {n} finite embeddings of {self.bundle.dim} numbers, "
                f"found shape {embeddings.shape}; the bundle does not fit its {self.bundle.folder}"
            )
        return embeddings.astype(np.float32)

    def _unit(self, embeddings: Array) -> Array:
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit: Array = (embeddings / np.maximum(norms, np.float32(1e-12))).astype(np.float32)
        return unit

    @functools.cached_property
    def _audio_tower(self) -> Any:
        return self._session(AUDIO_TOWER, self._n_threads)

    @functools.cached_property
    def _text_tower(self) -> Any:
        return self._session(TEXT_TOWER, 1)  # starting threads takes longer than a text does

    @functools.cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        import tokenizers

        path = self.bundle.file(TOKENIZER)
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exceptions
            raise BundleError(f"{path}: not a tokenizer ({error})") from error
        tokenizer.enable_truncation(self.bundle.text.max_tokens)
        if tokenizer.padding is None:
            tokenizer.enable_padding()
        return tokenizer

    def _session(self, name: str, n_threads: int) -> Any:
        onnxruntime = load_onnxruntime()
        path = self.bundle.file(name)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = n_threads
        # Waiting threads sleep: while indexing, the readers need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(path, options, providers=_providers(self.device))
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            if isinstance(error, SoundsearchError):
                raise
            raise BundleError(f"{path}: onnxruntime cannot load it ({error})") from error


def _providers(device: Device) -> list[str]:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    has_cuda = cuda in load_onnxruntime().get_available_providers()
    if device == "cuda" and not has_cuda:
        raise SoundsearchError(
            "--device cuda: this onnxruntime has no CUDA provider; "
            "install onnxruntime-gpu instead of onnxruntime, or use --device cpu"
        )
    return [cuda, cpu] if has_cuda and device != "cpu" else [cpu]


def _warn_of(file: AudioFile, name: str, whole: bool) -> None:
    """Once all was read: a file that was read in part is refused, or a warning is logged."""
    if file.damage and whole:
        raise AudioError(Cause.DAMAGED, file.damage)
    if file.damage:
        log.warning("partly read %s: %s", name, file.damage)
    if file.note:
        log.warning("note %s: %s", name, file.note)
