"""Run the two towers of a bundle on onnxruntime: windows and texts to unit embeddings.

An `Encoder` runs an `EncoderBundle`. A tower is loaded when it is first needed, so a text query
never loads the audio tower. Nothing is random: equal windows get equal embeddings.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soundsearch.arrays import Array, Mask
from soundsearch.audio.features import compute_features, compute_features_of, lifted
from soundsearch.audio.windows import SILENT_PASSAGE, WHOLLY_SILENT, is_silent
from soundsearch.choices import Device
from soundsearch.encoder.bundle import AUDIO_TOWER, TEXT_TOWER, TOKENIZER, EncoderBundle
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.errors import AudioError, BundleError, Cause, SoundsearchError

if TYPE_CHECKING:
    import tokenizers

    from soundsearch.audio.recording import AudioFile
    from soundsearch.audio.windows import Window

log = logging.getLogger(__name__)


#: Windows in one batch of the audio tower, texts in one of the text tower.
BATCH_SIZE = 32
#: Only so many characters of a text are tokenised, far more than any text tower reads.
MAX_CHARACTERS = 100_000


class Encoder:
    """Embeds audio and text with the towers of one bundle.

    Attributes:
        bundle: The encoder's files and settings.
        device: "cpu", "cuda", or "auto": the GPU if this onnxruntime supports one, else the CPU.
    """

    def __init__(self, bundle: EncoderBundle, device: Device = "auto", n_threads: int = 0) -> None:
        """Prepare an encoder; nothing is loaded yet.

        Args:
            bundle: The encoder's files and settings.
            device: "auto", "cpu" or "cuda".
            n_threads: Threads of the audio tower; 0 means one per core.
        """
        self.bundle = bundle
        self.device = device
        self._n_threads = n_threads

    def embed_features(self, features: Array) -> Array:
        """Embed features of windows.

        Args:
            features: (n, n_mels, n_frames) float32, as `features_of` returns them.

        Returns:
            Unit embeddings, (n, dim) float32.

        Raises:
            ValueError: The features have another shape.
            BundleError: The audio tower cannot be loaded, or does not return n finite embeddings.
        """
        expected = (self.bundle.features.n_mels, self.bundle.features.n_frames)
        if features.ndim != 3 or features.shape[1:] != expected:
            raise ValueError(
                f"features must be (n, {expected[0]}, {expected[1]}), not {features.shape}"
            )
        (embeddings,) = self._audio_tower.run(["embeddings"], {"features": features})
        return self._unit(self._checked(embeddings, len(features)))

    def features_of(self, windows: Sequence[Window], sample_rate: int) -> Array:
        """Compute the features of windows.

        Quiet windows are amplified, see `features.lifted`. Windows of one recording in order are
        fastest, since frames that two of them share are computed once.

        Args:
            windows: n windows.
            sample_rate: Of their waveforms, in Hz.

        Returns:
            (n, n_mels, n_frames) float32.
        """
        placed = [(round(w.start_s * sample_rate), lifted(w.waveform)) for w in windows]
        return compute_features_of(placed, sample_rate, self.bundle.features)

    def embed_file(
        self,
        path: Path,
        *,
        whole: bool = False,
        name: str | None = None,
        passage: tuple[float, float] | None = None,
    ) -> tuple[list[tuple[float, float]], Array]:
        """Embed all windows of a recording that are not silent.

        Args:
            path: A sound file.
            whole: Whether to refuse a file that can be decoded only in part; otherwise a warning
                is logged.
            name: Name of the file in the warning, by default its path.
            passage: (start_s, end_s) of the part that is embedded; the end may be infinite.

        Returns:
            The n windows as (start_s, end_s) in seconds, and their unit embeddings, (n, dim)
            float32; n >= 1.

        Raises:
            AudioError: The file cannot be decoded, is silent, or ends before the passage.
        """
        from soundsearch.audio.recording import (  # queries in words need none
            AudioFile,
            read_windows,
        )

        spans: list[tuple[float, float]] = []
        embeddings: list[Array] = []
        with AudioFile(path) as file:
            rate = self.bundle.audio.rate_for(file.sample_rate)
            windows = read_windows(file, self.bundle.audio, passage)
            sounding = (w for w in windows if not w.is_silent)
            while batch := list(itertools.islice(sounding, BATCH_SIZE)):
                spans += [(w.start_s, w.end_s) for w in batch]
                embeddings.append(self.embed_features(self.features_of(batch, rate)))
            _warn_of(file, name or str(path), whole)
        if not spans:
            raise AudioError(Cause.SILENT, SILENT_PASSAGE if passage else WHOLLY_SILENT)
        return spans, np.concatenate(embeddings)

    def embed_clip(self, path: Path, *, whole: bool = False) -> Array:
        """Embed a whole short recording, held in memory, as one unit vector, (dim,) float32.

        The bundle chooses the rule: the embedding of one stretch (see `clips.py`), or the mean of
        the embeddings of all windows, scaled to unit length. whole, and what is raised: as of
        `embed_file`.
        """
        from soundsearch.audio.clips import cut_clip
        from soundsearch.audio.recording import AudioFile

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
        """Embed texts.

        Args:
            texts: n texts. A text that is longer than the text tower reads is truncated, see
                `truncated`.
            normalise: Whether to scale embeddings to unit length. VIP-ANT's protocol for ESC-50
                and UrbanSound8K multiplies with text embeddings that are not normalised.

        Returns:
            (n, dim) float32, in the order of the texts.

        Raises:
            BundleError: Tokenizer or text tower cannot be loaded, or do not fit the bundle.
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

    def truncated(self, texts: Sequence[str]) -> Mask:
        """Return which texts are longer than the text tower reads, (n,) bool; their ends have no effect."""
        is_cut: list[bool] = []
        for i in range(0, len(texts), BATCH_SIZE):
            some = texts[i : i + BATCH_SIZE]
            is_cut += [
                len(text) > MAX_CHARACTERS or bool(encoding.overflowing)
                for text, encoding in zip(some, self._tokenised(some), strict=True)
            ]
        return np.array(is_cut, np.bool_)

    def is_word(self, word: str) -> bool:
        """Whether the tokenizer has a word of letters as one token, as it has frequent ones."""
        tokens = self._tokenizer.encode(word, add_special_tokens=False).tokens
        return len(tokens) == 1 and tokens[0].strip("▁Ġ").removesuffix("</w>").lower() == word

    def _tokenised(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        # Bytes that are not UTF-8 arrive as lone surrogates, which tokenizers refuse.
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
        return self._session(TEXT_TOWER, 1)  # starting threads takes longer than embedding a text

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
        # Idle threads sleep: while indexing, the readers need the cores.
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
    """After reading: refuse a file that was decoded only in part, or log a warning."""
    if file.damage and whole:
        raise AudioError(Cause.DAMAGED, file.damage)
    if file.damage:
        log.warning("partly read %s: %s", name, file.damage)
    if file.note:
        log.warning("note %s: %s", name, file.note)
