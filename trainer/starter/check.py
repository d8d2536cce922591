"""Validation on the way, on the cached frames: close to what `measure` says, and quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from soundsearch.audio.features import KaldiFbank
from soundsearch.audio.windows import AudioConfig
from soundsearch.bench.metrics import best_ranks, recall_at_k
from soundsearch.encoder.embed_clips import ClipEmbeddings, score_texts
from trainer.data.manifests import Recording
from trainer.starter.align import Aligner
from trainer.starter.cache import RecordingCache
from trainer.starter.config import StarterConfig
from trainer.starter.embedder import Embedder
from trainer.starter.scenes import rate_of
from trainer.starter.tag_space import TagSpace

Array = NDArray[np.float32]


class Check:
    """Recall over the captions of the validation split, and zero-shot accuracy on labelled clips.

    clips: in the cache's order; a clip without a label belongs to the captions. tags: what the
    embeddings are completed with. zero_shot: for each name of a set, the label of each of its clips
    by number; None for ESC-10's validation clips.
    """

    def __init__(
        self,
        clips: Sequence[Recording],
        cache: RecordingCache,
        embed: Callable[[Sequence[str]], Array],
        tags: TagSpace,
        config: StarterConfig,
        zero_shot: Mapping[str, Mapping[int, str]] | None = None,
        usable: Callable[[Recording], bool] = lambda clip: True,
    ) -> None:
        self._tags = tags
        valid = [
            i
            for i, clip in enumerate(clips)
            if clip.split == "valid" and cache.n_samples(i) and usable(clip)
        ]
        if zero_shot is None:
            labelled = ((i, clips[i].label) for i in valid)
            zero_shot = {"esc10": {i: label for i, label in labelled if label is not None}}
        self._sounds = [i for i in valid if clips[i].label is None]
        here = sorted({*self._sounds, *(i for of_set in zero_shot.values() for i in of_set)})
        self._row = {i: row for row, i in enumerate(here)}
        of_each = [windows_of(cache, i, config.audio, config.features) for i in here]
        self._windows = [window.T for windows in of_each for window in windows]
        self._first = np.cumsum([0, *(len(windows) for windows in of_each)], dtype=np.int64)
        captions = [clips[i].caption for i in self._sounds]
        self._captions = sorted(set(captions))
        self._right = np.array(self._captions)[:, None] == np.array(captions)
        self._caption_vectors = torch.from_numpy(embed(self._captions)) if captions else None
        self._sets = []
        for name, of_set in zero_shot.items():
            labels = sorted(set(of_set.values()))
            if labels:
                prompts = [config.text.prompt.format(label) for label in labels]
                rows = [self._row[i] for i in of_set]
                right = np.array([labels.index(label) for label in of_set.values()])
                self._sets.append((name, torch.from_numpy(embed(prompts)), rows, right))

    @torch.no_grad()
    def __call__(self, aligner: nn.Module) -> dict[str, float]:
        """R@1 and R@10 of text to audio; of each set the accuracy, and its mean over classes. By name."""
        assert isinstance(aligner, Aligner)
        embedder, tower, found = Embedder(aligner, self._tags), aligner.tower, []
        for start in range(0, len(self._windows), 256):
            batch = np.stack(self._windows[start : start + 256]).astype(np.float32)
            features = (torch.from_numpy(batch) - tower.mean) / tower.std
            with torch.autocast("cpu", torch.bfloat16):
                found.append(embedder.embed_audio(features).numpy())
        if not found:
            return {}
        embeddings = ClipEmbeddings(np.concatenate(found), self._first)
        numbers: dict[str, float] = {}
        if self._caption_vectors is not None:
            rows = [self._row[i] for i in self._sounds]
            texts = embedder.embed_text(self._caption_vectors).numpy()
            scores = score_texts(texts, embeddings)[:, rows]
            ranks = best_ranks(scores, self._right)
            numbers |= {f"valid_recall_at_{k}": recall_at_k(ranks, k) for k in (1, 10)}
        for name, vectors, rows, right in self._sets:
            scores = score_texts(embedder.embed_text(vectors).numpy(), embeddings)[:, rows]
            hits = scores.argmax(axis=0) == right
            by_class = [hits[right == label].mean() for label in np.unique(right)]
            numbers[f"valid_{name}"] = float(hits.mean())
            numbers[f"valid_{name}_by_class"] = float(np.mean(by_class))
        return numbers


def windows_of(
    cache: RecordingCache, i: int, audio: AudioConfig, features: KaldiFbank
) -> list[NDArray[np.float16]]:
    """The windows of a recording as a search has them, (n_frames, n_mels) each; see `cut_windows`.

    The last is aligned to the recording's end, but for a part of a frame.
    """
    n = features.n_frames
    if cache.n_samples(i) < round(audio.window_s * rate_of(audio)):
        return [cache.window(i, 0, n)]  # the cache holds it repeated
    hop = round(audio.hop_s * 1000 / features.frame_shift_ms)
    last = cache.n_frames(i) - n
    return [cache.window(i, start, n) for start in [*range(0, last, hop), last]]
