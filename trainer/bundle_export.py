"""Export encoders to bundles.

`export_run` exports a training run. `trainer/convert` exports published weights, with `write_bundle`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsearch.audio.features import FeatureConfig, compute_features, lifted
from soundsearch.audio.recording import AudioFile, read_windows
from soundsearch.audio.windows import AudioConfig
from soundsearch.demo import shipped_recordings
from soundsearch.encoder.bundle import (
    AUDIO_TOWER,
    MANIFEST,
    TEXT_TOWER,
    TOKENIZER,
    EncoderBundle,
    TextConfig,
)
from soundsearch.files import put_folder_in_place, sha256_of
from soundsearch.progress import Progress
from trainer import model_card
from trainer.calibrate import calibrate_on
from trainer.calibration_set import CalibrationSet
from trainer.convert.clip_text import ClipText, clip_tokenizer
from trainer.front_ends import with_frames
from trainer.onnx_export import (
    ExportError,
    fold_batch_norms,
    quantise,
    row_by_row,
    run_onnx,
    save_onnx,
    to_float16,
    to_onnx,
)
from trainer.runs import BEGAN_FROM, TrainedRun, read_run
from trainer.towers.clip_model import FrozenClip, load_clip
from trainer.towers.vit import SpectrogramViT, TowerError, vit_from_authors

Array = NDArray[np.float32]

#: Texts on which a text tower is compared with torch. Their meanings differ.
TEXTS = (
    "a dog barking in the rain",
    "thunder",
    "two people talk while a train passes slowly over an old bridge",
    "violin",
    "glass breaking on a stone floor",
)
#: A text tower is collapsed if all pairs of TEXTS have a higher cosine than this.
COLLAPSED_COSINE = 0.999
#: Sentence that a bare label is put into. Source: VIP-ANT, `running.prompt`.
PROMPT = "the sound of {}"
#: An audio tower is compared with torch on every fifth recording of the demo.
EXAMPLE_STRIDE = 5


@dataclass(frozen=True, kw_only=True)
class EncoderParts:
    """The towers, tokenizer and facts that a bundle is written from.

    Attributes:
        audio_tower: Features (n, n_mels, n_frames) float32 -> vectors (n, dim), not normalised.
        text_tower: text_inputs, each (n, n_tokens) int64, -> vectors (n, dim), not normalised.
        text_inputs: Names of the text tower's inputs.
        tokenizer: As the text tower needs it.
    """

    audio_tower: nn.Module
    text_tower: nn.Module
    text_inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    tokenizer: tokenizers.Tokenizer
    dim: int
    audio: AudioConfig
    features: FeatureConfig
    text: TextConfig
    name: str
    version: str = "1"
    description: str
    licence: str
    provenance: str


def write_bundle(
    folder: Path,
    parts: EncoderParts,
    *,
    command: str,
    sections: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
    int8: bool = False,
    calibrated_on: CalibrationSet | None = None,
    progress: Progress | None = None,
) -> EncoderBundle:
    """Write a bundle into an existing folder: towers, tokenizer, calibration, card, bundle.json.

    Args:
        folder: Of the bundle.
        parts: What to write.
        command: Command that makes the bundle, for the card.
        sections: Heading -> text of the card, after the measurements.
        settings: All settings of the training, for training.json.
        measured: Earlier results, for bundle.json and the card.
        int8: As for `write_towers`.
        calibrated_on: Recordings by which scores become 0 to 1, see `trainer/calibrate.py`; None
            leaves cosines.
        progress: Is notified of the recordings that calibrate.

    Raises:
        ExportError: As `write_towers`.
        SoundsearchError: The recordings cannot be used.
    """
    bundle = write_towers(folder, parts, command=command, int8=int8)
    results = {**bundle.results, **(measured or {})}
    if calibrated_on is not None:
        bundle, numbers = calibrate_on(bundle, calibrated_on, progress)
        if numbers:
            results["scores from 0 to 1"] = {"command": command, **numbers}
    bundle = dataclasses.replace(bundle, results=results)
    measured_section = {"Measured": model_card.results_tables(bundle.results)}
    bundle = model_card.write(bundle, command, {**measured_section, **sections}, settings)
    bundle.write()
    return bundle


def write_towers(
    folder: Path, parts: EncoderParts, *, command: str, int8: bool = False
) -> EncoderBundle:
    """Write towers, tokenizer and bundle.json into an existing folder.

    Args:
        folder: Of the bundle.
        parts: What to write.
        command: Command that makes the bundle.
        int8: Whether to store and multiply matrices of the audio tower in int8. The difference to
            float32 is measured and stored.

    Returns:
        The bundle, its differences to torch under "export" of its results.

    Raises:
        ExportError: onnxruntime and torch differ too much, or the text tower gives all texts the
            same vector.
    """
    numbers = _write_text(folder, parts) | _write_audio(folder, parts, int8)
    bundle = EncoderBundle(
        folder=folder,
        name=parts.name,
        version=parts.version,
        description=parts.description,
        dim=parts.dim,
        audio=parts.audio,
        features=parts.features,
        text=parts.text,
        licence=parts.licence,
        provenance=parts.provenance,
        results={
            "export": {
                "command": command,
                "about": "onnxruntime against torch, as shares of a vector's length",
                **{name: float(f"{value:.6f}") for name, value in numbers.items()},
            },
        },
        files=file_hashes(folder, (AUDIO_TOWER, TEXT_TOWER, TOKENIZER)),
    )
    bundle.write()
    return bundle


def _write_audio(folder: Path, parts: EncoderParts, int8: bool) -> dict[str, float]:
    """Write the audio tower, and return its differences to torch by name."""
    tower, path = fold_batch_norms(parts.audio_tower), folder / AUDIO_TOWER
    features = {"features": torch.from_numpy(example_features(parts.audio, parts.features))}
    graph = to_onnx(tower, features, {"features": {0: "n"}})
    quantised = quantise(graph) if int8 else None
    numbers = {"audio_difference": save_onnx(graph, tower, features, path)}
    if quantised is not None:
        exact = run_onnx(path, features)
        path.write_bytes(row_by_row(to_float16(quantised)).SerializeToString())
        cosines = _cosines(run_onnx(path, features), exact)
        numbers["int8_cosine_mean"] = float(cosines.mean())
        numbers["int8_cosine_worst"] = float(cosines.min())
    return numbers


def _write_text(folder: Path, parts: EncoderParts) -> dict[str, float]:
    """Write tokenizer and text tower, and return the tower's difference to torch by name."""
    parts.tokenizer.save(str(folder / TOKENIZER), pretty=False)
    texts = text_inputs(folder / TOKENIZER, TEXTS, parts.text)
    inputs = {name: texts[name] for name in parts.text_inputs}
    dynamic = {name: {0: "n", 1: "n_tokens"} for name in inputs}
    graph, path = to_onnx(parts.text_tower, inputs, dynamic), folder / TEXT_TOWER
    difference = save_onnx(graph, parts.text_tower, inputs, path)
    refuse_collapsed_texts(run_onnx(path, inputs))
    return {"text_difference": difference}


def export_run(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    licence: str = model_card.NO_LICENCE,
    clip_s: float | None = None,
    int8: bool = False,
    force: bool = False,
    calibrated_on: CalibrationSet | None = None,
    progress: Progress | None = None,
) -> EncoderBundle:
    """Export a finished run to a bundle, with the text tower of the CLIP model it was trained against.

    Args:
        folder: The run folder.
        out: Folder of the bundle.
        name: Of the encoder, by default that of `out`.
        licence: Of the weights.
        clip_s: Seconds of a clip, if not those of the training; see `with_clips_of`.
        int8: As for `write_bundle`.
        force: Whether to replace a bundle in `out`.
        calibrated_on: As for `write_bundle`.
        progress: As for `write_bundle`.

    Raises:
        ExportError: The bundle cannot be written, or the CLIP weights are not those of the run.
        TrainingError: The run is not finished.
        ClipError: The CLIP model cannot be loaded.
    """
    with new_bundle(out, force=force) as made:
        run = read_run(folder)
        settings = {**dataclasses.asdict(run.config), "data": run.data}
        if clip_s is not None:
            run = with_clips_of(run, clip_s)
        clip_model = load_clip(run.clip_model)
        data = run.data
        if clip_model.fingerprint != data["fingerprint"]:
            raise ExportError(
                f"{folder}: trained against a CLIP of fingerprint {data['fingerprint'][:12]}, "
                f"{clip_model.choice.pretrained} here has {clip_model.fingerprint[:12]}; restore those weights"
            )
        write_bundle(
            made,
            EncoderParts(
                audio_tower=run.tower,
                **text_parts(clip_model),
                audio=run.config.front_end.audio,
                features=run.config.front_end.features,
                name=name or out.name,
                description=f"Sound in the space of CLIP {Path(run.clip_model.model).stem}, trained by soundsearch",
                licence=licence,
                provenance=(
                    f"The audio tower was trained on {data['n_clips']} clips (stage {run.config.stage}); the "
                    f"text tower is that of CLIP {clip_model.encoder}, fingerprint {clip_model.fingerprint}."
                ),
            ),
            command="soundsearch train export RUN BUNDLE"
            + (f" --clip-s {clip_s:g}" if clip_s is not None else "")
            + (" --int8" if int8 else ""),
            sections=_sections(run),
            settings=settings,
            measured=_last_checks(run),
            int8=int8,
            calibrated_on=calibrated_on,
            progress=progress,
        )
    return EncoderBundle.read(out)


def with_clips_of(run: TrainedRun, clip_s: float) -> TrainedRun:
    """Return a run for clips of another length, with the positions that the authors' code takes.

    Source: VIP-ANT, `load_pos_embedding` of CLIPAudioHead; see `vit_from_authors`.

    Raises:
        ExportError: The tower or the front end has one length alone, or the length is impossible.
    """
    if not isinstance(run.tower, SpectrogramViT) or run.config.front_end.audio.clip != "centre":
        raise ExportError(
            f"{run.folder}: tower {run.config.tower} with front end {run.config.front_end.name} has one "
            "length of clips; leave out --clip-s"
        )
    n_frames = round(100 * clip_s)
    try:
        config = dataclasses.replace(run.tower.config, n_frames=n_frames)
        tower = vit_from_authors(run.tower.state_dict(), config)
    except (ValueError, TowerError) as error:
        raise ExportError(f"{run.folder}: no clips of {clip_s:g} s ({error})") from error
    front_end = with_frames(run.config.front_end, n_frames)
    changed = dataclasses.replace(run.config, front_end=front_end)
    return dataclasses.replace(run, config=changed, tower=tower.eval())


def text_parts(clip_model: FrozenClip) -> dict[str, Any]:
    """Return the fields of `EncoderParts` that come from a CLIP model: the text side."""
    original: Any = clip_model.tokenizer
    return {
        "text_tower": ClipText(clip_model.model),
        "text_inputs": ("input_ids",),
        "tokenizer": clip_tokenizer(original),
        "dim": clip_model.dim,
        "text": TextConfig(max_tokens=original.context_length, prompt=PROMPT),
    }


def _sections(run: TrainedRun) -> dict[str, str]:
    """Return the sections of a run's model card after the measurements."""
    data = run.data
    epoch = f" Weights of epoch {run.picked.epoch}." if run.picked else ""
    if run.picked and run.picked.by:
        epoch = f" Weights of epoch {run.picked.epoch}, chosen by {run.picked.by}."
    learnt = {
        "pivot": "the images that belong to them, embedded by a frozen CLIP model; no text was used",
        "captions": f"the texts that belong to them ({run.config.texts}), embedded by a frozen CLIP model",
    }
    began_from = ""
    if BEGAN_FROM in data:
        began_from = (
            f"\nThe audio tower began from weights of {data[BEGAN_FROM]}, which learnt the labels of "
            "AudioSet:\nclasses that those labels name are not new to it."
        )
    return {
        "What it learnt from": f"""
{data["n_clips"]} examples of the shards {data["shards"]}, and {learnt[run.config.stage]}
(vectors {data["encoder"]}). Initial weights: {run.config.init}.{epoch}{began_from} The licences of the
recordings, images and texts are not stored with the shards; check them before you pass these
weights on. No recording is part of this bundle.""",
        "Limits": f"""
English only; CLIP truncates long texts. One vector represents {run.config.front_end.audio.window_s:g} s
of sound. It does not transcribe speech, and it does not identify speakers.""",
        "Training": model_card.curve(run.log, "Log", model_card.columns_of(run.log)),
    }


def _last_checks(run: TrainedRun) -> dict[str, Any]:
    """Return the last measurements during training, those of the picked epoch if there is one."""
    records = model_card.read_log(run.log)
    if run.picked:
        records = [record for record in records if record.get("epoch") == run.picked.epoch]
    if not records:
        return {}
    fullest = max(reversed(records), key=len)  # checks are rarer than losses
    numbers = {"step": fullest["step"]} | {
        name: fullest[name] for name in model_card.columns_of(run.log) if name in fullest
    }
    command = f"soundsearch train {run.config.stage}"
    return {"training": {"command": command, "about": "last checks of these weights", **numbers}}


@contextlib.contextmanager
def new_bundle(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `target` at the end of the block.

    If the block raises, `target` stays as it was.

    Args:
        target: Folder of the bundle.
        force: Whether to replace a bundle that is there. Anything else is never replaced.

    Raises:
        ExportError: `target` exists and may not be replaced, or the block raised an OSError.
    """
    if target.exists() or target.is_symlink():
        if not (target / MANIFEST).is_file():
            raise ExportError(f"{target}: exists and is not an encoder; choose another place")
        if not force:
            raise ExportError(
                f"{target}: there is an encoder already; replace it with --force, or choose another place"
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A hidden name, so that the registry does not list an unfinished or replaced bundle.
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            made = temporary / "new"
            made.mkdir()
            yield made
            put_folder_in_place(made, target, temporary / "old")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error})") from error


def example_features(audio: AudioConfig, features: FeatureConfig) -> Array:
    """Return features (n, n_mels, n_frames) of first windows of recordings of the demo, as in search."""
    found = []
    for path in shipped_recordings()[::EXAMPLE_STRIDE]:
        with AudioFile(path) as file:
            window = next(read_windows(file, audio))
            rate = audio.rate_for(file.sample_rate)
        found.append(compute_features(lifted(window.waveform), rate, features))
    return np.stack(found)


def text_inputs(path: Path, texts: Sequence[str], config: TextConfig) -> dict[str, Tensor]:
    """Return texts as inputs of a text tower, truncated and padded as in the encoder.

    path: of the bundle's tokenizer.json. Both inputs are (n, n_tokens) int64.
    """
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(config.max_tokens)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    encodings = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": torch.tensor([e.ids for e in encodings]),
        "attention_mask": torch.tensor([e.attention_mask for e in encodings]),
    }


def refuse_collapsed_texts(vectors: Array) -> None:
    """Raise ExportError if the vectors (n, dim) of texts with different meanings are all the same."""
    cosines = [_cosines(a[None], b[None])[0] for a, b in itertools.combinations(vectors, 2)]
    if min(cosines) > COLLAPSED_COSINE:
        raise ExportError(
            f"the text tower is collapsed: {len(vectors)} texts of different meaning have vectors of "
            f"cosine {min(cosines):.4f} or more, expected one below {COLLAPSED_COSINE}; use other weights"
        )


def _cosines(a: Array, b: Array) -> Array:
    """Return the cosines of corresponding rows."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: Array = (a * b).sum(axis=1) / np.maximum(norms, np.float32(1e-12))
    return cosines


def file_hashes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of files of a bundle by name."""
    return {name: sha256_of(folder / name) for name in names}
