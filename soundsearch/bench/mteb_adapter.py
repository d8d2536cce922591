"""An encoder bundle as a model of MTEB, whose audio tasks can then be run with it.

    import mteb
    from soundsearch.bench.mteb_adapter import MtebEncoder

    tasks = mteb.get_tasks(tasks=["ClothoT2ARetrieval.v2", "ESC50_Zeroshot"])
    mteb.evaluate(MtebEncoder("starter"), tasks)

Needs the extra `soundsearch[mteb]`, which brings torch: MTEB computes its scores with it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from soundsearch.arrays import Array
from soundsearch.encoder.embed_clips import embed_texts
from soundsearch.encoder.embedding_cache import EmbeddingCache
from soundsearch.encoder.registry import find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.errors import AudioError, BenchmarkError, Cause

if TYPE_CHECKING:
    from mteb.models import ModelMeta

log = logging.getLogger(__name__)


#: Clips in which there is nothing to hear, and which MTEB cannot leave out.
NOTHING_TO_HEAR = frozenset([Cause.SILENT, Cause.TOO_SHORT])


class MtebEncoder:
    """What MTEB calls an encoder (its `EncoderProtocol`), around a bundle.

    model_name: a name from `soundsearch models list`, or a bundle's folder. device: "cpu" or
    "cuda"; None takes a GPU if there is one. A clip is one embedding, that of `Encoder.embed_clip`,
    through a file as in `soundsearch bench`. Texts are embedded as MTEB has them: its tasks put
    class names into sentences. Raises BundleError.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        **kwargs: Any,
    ) -> None:
        bundle = find_bundle(model_name)
        if revision not in (None, bundle.fingerprint):
            raise BenchmarkError(
                f"encoder {bundle.name} is revision {bundle.fingerprint}, not {revision}"
            )
        if device not in (None, "cpu", "cuda"):
            raise BenchmarkError(f"device {device!r}: expected cpu or cuda")
        self.encoder = Encoder(bundle, "cpu" if device == "cpu" else "cuda" if device else "auto")

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What MTEB writes beside its results; the fingerprint is the revision."""
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise BenchmarkError(
                f"MTEB's tasks need packages that search does not ({error.name} is missing); "
                "install them with: pip install 'soundsearch[mteb]'"
            ) from error
        bundle = self.encoder.bundle
        return ModelMeta.model_validate(
            {
                "loader": None,
                "name": f"soundsearch/{bundle.name}",
                "revision": bundle.fingerprint,
                "release_date": None,
                "languages": ["eng-Latn"],
                "n_parameters": None,
                "memory_usage_mb": None,
                "max_tokens": bundle.text.max_tokens,
                "embed_dim": bundle.dim,
                "license": None,
                "open_weights": None,
                "public_training_code": None,
                "public_training_data": None,
                "framework": ["ONNX"],
                "similarity_fn_name": "cosine",
                "use_instructions": False,
                "training_datasets": None,
                "modalities": ["audio", "text"],
            }
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], **_: Any) -> Array:
        """Embeddings (n, dim) float32 of MTEB's batches, each of texts or of clips.

        A silent clip gets zeros, and so scores 0 against everything. Raises BenchmarkError for
        another clip that cannot be embedded, and for a batch of both or neither.
        """
        rows: list[Array] = []
        n_done = 0
        for batch in inputs:
            kinds = [kind for kind in ("text", "audio") if kind in batch]
            if len(kinds) != 1:
                raise BenchmarkError(
                    f"a batch of this task holds {', '.join(batch)}; "
                    "an encoder of soundsearch embeds text or audio, not both as one"
                )
            items = batch[kinds[0]]
            rows.append(self._texts(items) if kinds == ["text"] else self._clips(items, n_done))
            n_done += len(items)
        return np.concatenate(rows) if rows else np.empty((0, self.encoder.bundle.dim), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs, (n, m), as MTEB computes them."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of equal places, (n,), as MTEB computes them."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _texts(self, texts: Sequence[str]) -> Array:
        return embed_texts(self.encoder, list(texts), EmbeddingCache(None, self.encoder))

    def _clips(self, clips: Sequence[Mapping[str, Any]], n_before: int) -> Array:
        """clips: each with `array`, (time,) or (channel, time), and `sampling_rate` in Hz."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.wav"
            rows = []
            for i, clip in enumerate(clips):
                waveform = np.asarray(clip["array"], np.float32)
                soundfile.write(path, waveform.T, int(clip["sampling_rate"]), subtype="FLOAT")
                try:
                    rows.append(self.encoder.embed_clip(path))
                except AudioError as error:
                    where = f"clip {n_before + i} of the task"
                    if error.cause not in NOTHING_TO_HEAR:
                        raise BenchmarkError(f"{where}: {error.reason}") from error
                    log.warning("%s: %s; it scores 0 against everything", where, error.reason)
                    rows.append(np.zeros(self.encoder.bundle.dim, np.float32))
        return np.stack(rows)
