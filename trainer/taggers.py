"""Taggers as teachers: sound in, a logit for each of many named classes out.

A tagger serves training alone: nothing of it is in a bundle. It is a file of TensorFlow Lite
(YAMNet of the TensorFlow Model Garden, or any that takes a waveform) or of ONNX (EfficientAT's
exports, which take the log-mels of their own front end, or any that takes a waveform). The names of
its classes stand in a CSV beside it.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundsearch.audio.features import EfficientAtMel
from soundsearch.audio.resampling import resample
from soundsearch.encoder.runtime import load_onnxruntime
from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from soundsearch.tables import Table, listed

Array = NDArray[np.float32]

#: Columns of a CSV that name classes, in the order in which they are looked for.
NAME_COLUMNS = ("display_name", "name", "label")
#: Sample rate of a TensorFlow Lite model, that of YAMNet and its kind, in Hz.
TFLITE_RATE = 16000
#: Entry of an ONNX file's metadata that says the sample rate of its waveform.
RATE_ENTRY = "sample_rate"
#: The front end of EfficientAT's exports, as published; they take any number of frames.
EFFICIENT_AT = EfficientAtMel(
    n_mels=128, n_frames=1 << 30, f_min=0.0, f_max=15000.0, mean=-4.5, std=5.0
)
EFFICIENT_AT_RATE = 32000
#: How far two stretches that a tagger of fixed length takes may lie apart, as a share of it.
STRIDE = 0.7
#: Logits of scores are kept within this.
LARGEST_LOGIT = 12.0


class TaggerError(SoundsearchError):
    """A tagger cannot be opened or used."""


class Tagger(ABC):
    """What gives soft labels, from a file. Sent to another process, it is opened anew there.

    Attributes:
        names: Of the classes.
        sample_rate: Of the waveform that it takes, in Hz.
        fingerprint: SHA-256 of its weights and names.
    """

    sample_rate: int

    def __init__(self, model: Path, classes: Path | None) -> None:
        self._model, self._classes = model, classes
        found = self.logits(np.zeros(self.sample_rate, np.float32))
        if found.ndim != 1:
            raise TaggerError(
                f"{model}: gives logits of shape {found.shape}, expected (n_classes,)"
            )
        table, self.names = _named(model, classes, len(found))
        self.fingerprint = f"{sha256_of(model)} {sha256_of(table)}"

    @abstractmethod
    def logits(self, waveform: Array) -> Array:
        """Return a logit for each class, (n_classes,) float32, of mono (time,) in [-1, 1]."""

    def __reduce__(self) -> tuple[type[Tagger], tuple[Path, Path | None]]:
        return type(self), (self._model, self._classes)


def open_tagger(model: Path, classes: Path | None = None) -> Tagger:
    """Open a tagger.

    Args:
        model: A .tflite or .onnx file.
        classes: CSV with the names of its classes in order, in a column display_name, name or
            label. By default the one CSV in the model's folder that has as many rows as the model
            has outputs.

    Raises:
        TaggerError: The file cannot be opened, its input does not fit, or its classes have no names.
    """
    kinds: dict[str, type[Tagger]] = {".tflite": TfliteTagger, ".onnx": OnnxTagger}
    if model.suffix.lower() not in kinds:
        raise TaggerError(f"{model}: expected a tagger as .tflite or .onnx")
    if not model.is_file():
        raise TaggerError(f"{model}: no such file; expected a tagger as .tflite or .onnx")
    return kinds[model.suffix.lower()](model, classes)


def tag(tagger: Tagger, waveform: Array, sample_rate: int) -> Array:
    """Return the logits (n_classes,) of a mono waveform (time,) float32 at another sample rate."""
    parts = list(resample([waveform], sample_rate, tagger.sample_rate))
    return tagger.logits(np.concatenate(parts))


def _named(model: Path, classes: Path | None, n: int) -> tuple[Path, list[str]]:
    """Return the CSV with the names of n classes, and the names."""
    if classes is not None:
        names = _names_in(classes)
        if names is None:
            raise TaggerError(f"{classes}: expected a column {' or '.join(NAME_COLUMNS)}")
        if len(names) != n:
            raise TaggerError(f"{model}: has {n} classes, {classes} names {len(names)}")
        return classes, names
    found = [(path, _names_in(path)) for path in sorted(model.parent.glob("*.csv"))]
    fitting = [(path, names) for path, names in found if names is not None and len(names) == n]
    if len(fitting) != 1:
        there = listed([f"{path.name} ({len(names)})" for path, names in found if names]) or "none"
        raise TaggerError(
            f"{model}: expected one CSV beside it that names its {n} classes, found {there}; "
            "name the CSV of its classes"
        )
    return fitting[0]


def _names_in(path: Path) -> list[str] | None:
    """Return the names in a CSV, None if it has no column of them. Raises TaggerError."""
    table = Table(path, TaggerError)
    column = next((name for name in NAME_COLUMNS if name in table.columns), None)
    return None if column is None else [row[column] for row in table.rows([column])]


def _of_scores(scores: Array) -> Array:
    """Return the logits of scores in [0, 1]."""
    odds = np.log(np.maximum(scores, 1e-9)) - np.log1p(-np.minimum(scores, 1 - 1e-7))
    return odds.clip(-LARGEST_LOGIT, LARGEST_LOGIT).astype(np.float32)


def _stretches(waveform: Array, size: int) -> Array:
    """Return (n, size) stretches that cover a waveform; a shorter one is repeated."""
    if len(waveform) < size:
        return np.resize(waveform, (1, size))
    last = len(waveform) - size
    starts = np.linspace(0, last, math.ceil(last / (STRIDE * size)) + 1).round().astype(int)
    return np.stack([waveform[start : start + size] for start in starts])


class TfliteTagger(Tagger):
    """A tagger over LiteRT, for one thread: waveforms of a fixed length at 16 kHz to scores."""

    sample_rate = TFLITE_RATE

    def logits(self, waveform: Array) -> Array:
        """See `Tagger`. Scores are averaged over stretches that cover the waveform."""
        interpreter, size = self._opened
        place = interpreter.get_input_details()[0]
        scores = []
        for stretch in _stretches(waveform, size):
            interpreter.set_tensor(place["index"], stretch.reshape(place["shape"]))
            interpreter.invoke()
            found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            scores.append(found.reshape(-1))
        return _of_scores(np.mean(scores, axis=0))

    @functools.cached_property
    def _opened(self) -> tuple[Any, int]:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise TaggerError(
                f"{self._model}: needs ai-edge-litert; install soundsearch[train]"
            ) from error
        try:
            interpreter = Interpreter(str(self._model), num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, OSError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise TaggerError(
                f"{self._model}: not a model that LiteRT can open ({first})"
            ) from error
        given = interpreter.get_input_details()[0]
        shape = tuple(int(n) for n in given["shape"])
        size = math.prod(shape)
        if given["dtype"] != np.float32 or size != max(shape) or size < TFLITE_RATE // 10:
            raise TaggerError(
                f"{self._model}: takes {np.dtype(given['dtype']).name} of shape {shape}, expected a "
                f"float32 waveform at {TFLITE_RATE} Hz, such as (15600,)"
            )
        return interpreter, size


class OnnxTagger(Tagger):
    """A tagger over onnxruntime, for one thread.

    Its input is a waveform, (time,) or (n, time), whose rate stands in the file's metadata; or the
    log-mels of EfficientAT, (n, 1, 128, frames), of any length.
    """

    def __init__(self, model: Path, classes: Path | None) -> None:
        self._model = model
        rate = self._opened[2]
        self.sample_rate = rate or EFFICIENT_AT_RATE
        self._takes_log_mels = rate is None
        super().__init__(model, classes)

    def logits(self, waveform: Array) -> Array:
        """See `Tagger`. A waveform that is too short is repeated."""
        session, given, _ = self._opened
        if self._takes_log_mels:
            if len(waveform) < self.sample_rate:
                waveform = np.resize(waveform, self.sample_rate)
            log_mel = EFFICIENT_AT.log_mel(np.asarray(waveform, np.float32), EFFICIENT_AT_RATE)
            features = (log_mel - np.float32(EFFICIENT_AT.mean)) / np.float32(EFFICIENT_AT.std)
            only: Array = self._run(session, features[None, None])[0]
            return only
        size = given.shape[-1]
        rows = _stretches(waveform, size) if isinstance(size, int) else waveform[None]
        alone = len(given.shape) == 1
        rows_found = [self._run(session, row if alone else row[None]).reshape(-1) for row in rows]
        found: Array = np.mean(rows_found, axis=0)
        return found

    def _run(self, session: Any, features: Array) -> Array:
        found: Array = session.run(None, {session.get_inputs()[0].name: features})[0]
        is_logits = "logit" in session.get_outputs()[0].name.lower()
        return found if is_logits else _of_scores(found)

    @functools.cached_property
    def _opened(self) -> tuple[Any, Any, int | None]:
        """The session, its input, and the rate of a waveform; None for log-mels."""
        runtime = load_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        try:
            session = runtime.InferenceSession(
                self._model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a dozen kinds
            first = str(error).splitlines()[0]
            raise TaggerError(f"{self._model}: not a model of ONNX ({first})") from error
        given = session.get_inputs()[0]
        shape = list(given.shape)
        if len(session.get_inputs()) == 1 and given.type == "tensor(float)":
            if len(shape) == 4 and shape[1:3] == [1, EFFICIENT_AT.n_mels]:
                return session, given, None
            if len(shape) in (1, 2):
                return session, given, self._rate(session)
        raise TaggerError(
            f"{self._model}: takes {given.type} of shape {shape}, expected a waveform, (time,) or "
            f"(n, time), or log-mels of EfficientAT, (n, 1, {EFFICIENT_AT.n_mels}, frames)"
        )

    def _rate(self, session: Any) -> int:
        stated = session.get_modelmeta().custom_metadata_map.get(RATE_ENTRY, "")
        if not stated.isdecimal() or int(stated) == 0:
            raise TaggerError(
                f"{self._model}: takes a waveform and does not say its sample rate; add the entry "
                f"{RATE_ENTRY} to the metadata of the file, such as 32000"
            )
        return int(stated)
