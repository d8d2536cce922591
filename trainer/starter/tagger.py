"""The AudioSet tagger YAMNet as a teacher: sound in, a score for each of 521 classes out.

It serves training alone: nothing of it is in a bundle. Source: TensorFlow Model Garden, `yamnet`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from soundsearch.errors import SoundsearchError
from soundsearch.files import sha256_of
from soundsearch.tables import Table

Array = NDArray[np.float32]

MODEL = "teachers/yamnet.tflite"
CLASSES = "teachers/yamnet_class_map.csv"
#: Samples it hears at once (0.975 s), at SAMPLE_RATE Hz.
N_SAMPLES = 15600
#: How far two of these stretches may lie apart, as a share of their length.
STRIDE = 0.7


class Teacher(Protocol):
    """What scenes are labelled with.

    names: of the classes. sample_rate: Hz. fingerprint: of its weights and names. `scores` gives one
    score in [0, 1] for each class, (n_classes,) float32, to a mono waveform (time,) in [-1, 1]. It
    can be sent to another process.
    """

    names: list[str]
    sample_rate: int
    fingerprint: str

    def scores(self, waveform: Array) -> Array: ...  # noqa: D102 - above


class Tagger:
    """YAMNet over LiteRT, for one thread; another process opens it anew.

    data: the folder that holds MODEL and CLASSES. Raises SoundsearchError.
    """

    sample_rate = 16000

    def __init__(self, data: Path) -> None:
        self._data, self._model = data, data / MODEL
        classes = Table(data / CLASSES)
        self.names = [row["display_name"] for row in classes.rows(["display_name"])]
        self._interpreter = _open(self._model)
        self.fingerprint = f"{sha256_of(self._model)} {sha256_of(data / CLASSES)}"
        found = self.scores(np.zeros(N_SAMPLES, np.float32))
        if found.shape != (len(self.names),):
            raise SoundsearchError(
                f"{self._model}: gives {found.shape[0]} scores, {data / CLASSES} names "
                f"{len(self.names)} classes"
            )

    def scores(self, waveform: Array) -> Array:
        """Mean over stretches that cover the waveform; a shorter one is repeated."""
        if len(waveform) < N_SAMPLES:
            waveform = np.resize(waveform, N_SAMPLES)
        last = len(waveform) - N_SAMPLES
        n = math.ceil(last / (STRIDE * N_SAMPLES)) + 1
        starts = np.linspace(0, last, n).round().astype(int)
        asked = np.stack([self._ask(waveform[s : s + N_SAMPLES]) for s in starts])
        found: Array = asked.mean(axis=0)
        return found

    def _ask(self, stretch: Array) -> Array:
        interpreter = self._interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stretch)
        interpreter.invoke()
        found: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        return found.reshape(-1)

    def __reduce__(self) -> tuple[type[Tagger], tuple[Path]]:
        return Tagger, (self._data,)


def _open(model: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise SoundsearchError(
            "training needs ai-edge-litert for the tagger; install soundsearch[train]"
        ) from error
    try:
        interpreter = Interpreter(str(model), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise SoundsearchError(f"{model}: not a model that LiteRT can open ({first})") from error
    shape = tuple(interpreter.get_input_details()[0]["shape"])
    if shape != (N_SAMPLES,):
        raise SoundsearchError(f"{model}: hears {shape} samples, YAMNet hears ({N_SAMPLES},)")
    return interpreter
