"""Convert the published checkpoints of VIP-ANT to bundles that score as the authors' code does.

Zhao et al., "Connecting the Dots between Audio and Text without Parallel Data through Visual
Knowledge Transfer" (NAACL 2022): an audio tower in the space of CLIP ViT-B/32. A checkpoint is the
audio tower alone; the text tower is CLIP's own. Windows have the recording's own rate and its first
channel; prompt, crop and un-normalised texts follow the authors' protocol.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundsearch.choices import VipAntVariant
from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.files import sha256_of
from soundsearch.progress import Progress, Silent
from trainer.bundle_export import EncoderParts, new_bundle, text_parts, write_bundle
from trainer.calibration_set import CalibrationSet
from trainer.convert import ConversionError
from trainer.convert.authors_front_end import authors_front_end
from trainer.convert.checkpoint import Checkpoint, read_checkpoint
from trainer.convert.download import check_sha256, downloads_folder, fetch
from trainer.front_ends import FrontEnd, with_frames
from trainer.towers.clip_model import ClipChoice, FrozenClip, load_clip
from trainer.towers.clip_weights import ClipError
from trainer.towers.vit import TowerError, VitConfig, vit_from_authors

logger = logging.getLogger(__name__)

BASE_URL = "https://storage.googleapis.com/ai2-mosaic-public/projects/vipant/model"
#: Folders of the two stages: sounds against video frames (VA), and then against captions (AT).
VA, AT = "01FFQTZK9YBPRDQHHR6157AGBR", "01FM2Y9HJ896B2G6NKRXTEVXZ7"
#: The CLIP model of both stages.
CLIP = ClipChoice(model="ViT-B-32-quickgelu", pretrained="openai")
#: A weight of the audio tower in the layout of the authors' `configs/model/audio/vit.yaml`.
OLDER_LAYOUT = "encoder.conv1.weight"
#: Width of an attention head in every CLIP model.
HEAD_WIDTH = 64
LICENCE = (
    "the authors' README states MIT for their repository and says nothing of the weights apart; "
    "CLIP: MIT (OpenAI)"
)


@dataclass(frozen=True)
class Variant:
    """One published checkpoint.

    Attributes:
        file: Path below BASE_URL.
        best_for: Use for which the authors' README recommends it.
        n_frames: Frames (10 ms) of a window, if not those of its training.
        sha256: Of the file; the authors publish none.
    """

    file: str
    best_for: str
    n_frames: int | None = None
    sha256: str | None = None

    @property
    def url(self) -> str:
        """URL of the file."""
        return f"{BASE_URL}/{self.file}"


VARIANTS: dict[VipAntVariant, Variant] = {
    "clotho": Variant(f"{VA}/00043681.pth", "Clotho, no captions seen"),
    "clotho-18s": Variant(f"{VA}/00043681.pth", "Clotho in 18 s, no captions seen", 1800),
    "audiocaps": Variant(f"{VA}/00051623.pth", "AudioCaps, no captions seen"),
    "start": Variant(f"{VA}/00071478.pth", "going on with captions"),
    "us8k": Variant(f"{VA}/00079420.pth", "UrbanSound8K, no captions seen"),
    "us8k-4s": Variant(f"{VA}/00079420.pth", "UrbanSound8K in 4 s, no captions seen", 400),
    "esc50": Variant(f"{VA}/00083391.pth", "ESC-50, no captions seen"),
    "esc50-5s": Variant(f"{VA}/00083391.pth", "ESC-50 in 5 s, no captions seen", 500),
    "at-clotho": Variant(f"{AT}/00004140.pth", "Clotho, ESC-50 and UrbanSound8K"),
    "at-audiocaps": Variant(f"{AT}/00006210.pth", "AudioCaps"),
    "at-clotho-18s": Variant(f"{AT}/00006900.pth", "Clotho in 18 s", 1800),
}
#: For text search: it was trained on captions, and is recommended for three of the tasks.
DEFAULT: VipAntVariant = "at-clotho"


def bundle_name(variant: VipAntVariant) -> str:
    """Return the name of a variant's bundle, and of its folder."""
    return "vip-ant" if variant == DEFAULT else f"vip-ant-{variant}"


def build_vip_ant(
    out: Path,
    variant: VipAntVariant = DEFAULT,
    *,
    checkpoint: Path | None = None,
    clip_weights: Path | None = None,
    sha256: str | None = None,
    force: bool = False,
    calibrated_on: CalibrationSet | None = None,
    progress: Progress | None = None,
) -> EncoderBundle:
    """Convert a checkpoint into a bundle.

    Args:
        out: Folder of the bundle.
        variant: One of `VARIANTS`.
        checkpoint: A file of the authors; by default that of the variant is downloaded.
        clip_weights: Weights of CLIP ViT-B/32; by default open_clip downloads them.
        sha256: Expected SHA-256 of the checkpoint. That of a downloaded one is logged.
        force: Whether to replace a bundle in `out`.
        calibrated_on: Recordings by which scores become 0 to 1; None leaves cosines.
        progress: Is notified of what is downloaded, read and written.

    Raises:
        ConversionError: The checkpoint cannot be downloaded, read or used.
        ClipError: The CLIP weights in `clip_weights` cannot be used.
        ExportError: The towers cannot be used, or the bundle cannot be written.
    """
    chosen = VARIANTS[variant]
    chosen = dataclasses.replace(chosen, sha256=sha256 or chosen.sha256)
    progress = progress or Silent()
    with new_bundle(out, force=force) as folder:
        file = _of_variant(checkpoint, variant) if checkpoint else _download(chosen, progress)
        if checkpoint and sha256:
            otherwise = "give the file that was meant with --checkpoint FILE"
            check_sha256(file, sha256, f"{file}: another file", otherwise)
        progress.begin("reading the checkpoint and CLIP")
        found = read_checkpoint(file)
        front_end = authors_front_end(found)
        if chosen.n_frames is not None:
            front_end = with_frames(front_end, chosen.n_frames)
        vit = vit_config(found, front_end)
        tower = _tower(found, vit)
        frozen = _clip(clip_weights)
        if frozen.dim != vit.dim:
            raise ConversionError(
                f"{file}: its vectors have {vit.dim} numbers, those of CLIP {frozen.choice.model} "
                f"{frozen.dim}; they were not trained together"
            )
        features = front_end.features
        logger.info(
            "%s: %d frames, stride %s, mean %g, std %g",
            file.name,
            vit.n_frames,
            vit.stride,
            features.mean,
            features.std,
        )
        progress.begin("writing the towers")
        source = f"at {chosen.url}" if checkpoint is None else "given as a file"
        given = " --checkpoint FILE" if checkpoint else ""
        write_bundle(
            folder,
            EncoderParts(
                audio_tower=tower,
                **text_parts(frozen),
                audio=front_end.audio,
                features=features,
                name=bundle_name(variant),
                description="VIP-ANT: sound in the space of CLIP ViT-B/32, learnt from videos",
                licence=LICENCE,
                provenance=(
                    f"Converted from the authors' checkpoint {file.name} ({source}), SHA-256 "
                    f"{sha256_of(file)}; text tower: that of CLIP {frozen.encoder}, fingerprint "
                    f"{frozen.fingerprint}."
                ),
            ),
            command=f"soundsearch models build vip-ant --variant {variant}{given}",
            sections=_sections(chosen),
            settings=found.config,
            calibrated_on=calibrated_on,
            progress=progress,
        )
    return EncoderBundle.read(out)


def authors_settings(checkpoint: Path) -> tuple[FrontEnd, VitConfig]:
    """Return the front end and the tower of a checkpoint, with which training begins from it.

    Raises ConversionError if it cannot be read or used.
    """
    found = read_checkpoint(checkpoint)
    front_end = authors_front_end(found)
    return front_end, vit_config(found, front_end)


def _of_variant(checkpoint: Path, variant: VipAntVariant) -> Path:
    """Return the file. Raises ConversionError if its name is that of another variant."""
    others = [name for name, known in VARIANTS.items() if Path(known.file).name == checkpoint.name]
    if others and variant not in others:
        raise ConversionError(
            f"{checkpoint}: by its name not the checkpoint of {variant}; "
            f"add --variant {' or --variant '.join(others)}"
        )
    return checkpoint


def _download(variant: Variant, progress: Progress | None = None) -> Path:
    path = downloads_folder() / "vip-ant" / variant.file
    otherwise = "give a file that you have with --checkpoint FILE"
    return fetch(variant.url, path, otherwise, variant.sha256, progress)


def _clip(file: Path | None) -> FrozenClip:
    choice = dataclasses.replace(CLIP, pretrained=str(file)) if file else CLIP
    try:
        return load_clip(choice)
    except ClipError as error:
        if file is not None:
            raise
        raise ConversionError(
            f"CLIP's text tower cannot be loaded: {str(error).split(';')[0]}; "
            "give a file of its weights (ViT-B-32.pt) with --clip FILE"
        ) from error


def vit_config(found: Checkpoint, front_end: FrontEnd) -> VitConfig:
    """Return the shape of the tower, from the settings, and from weights where these lack it.

    Raises ConversionError if it is none, or of the authors' older layout.
    """
    if OLDER_LAYOUT in found.audio:
        raise ConversionError(
            f"{found.path}: an older layout of the authors' audio tower ({OLDER_LAYOUT}), which no "
            "published checkpoint has; expected pre_encoder.conv1.weight and its like"
        )
    kernel, proj = (
        _shape(found, "pre_encoder.conv1.weight", 4),
        _shape(found, "post_encoder.proj", 2),
    )
    layers = {name.split(".")[2] for name in found.audio if name.startswith("encoder.resblocks.")}
    width = kernel[0]
    try:
        return VitConfig(
            width=width,
            n_layers=len(layers),
            n_heads=max(1, width // HEAD_WIDTH),
            patch=kernel[2],
            stride=_pair(found, "model.audio.pre_encoder.stride") or VitConfig.stride,
            in_channels=kernel[1],
            n_mels=front_end.features.n_mels,
            n_frames=front_end.features.n_frames,
            dim=proj[1],
        )
    except ValueError as error:
        raise ConversionError(
            f"{found.path}: its settings are not those of a tower ({error})"
        ) from error


def _tower(found: Checkpoint, vit: VitConfig) -> Any:
    try:
        return vit_from_authors(found.audio, vit)
    except TowerError as error:
        raise ConversionError(f"{found.path}: {error}") from error


def _shape(found: Checkpoint, name: str, n_axes: int) -> Sequence[int]:
    weights = found.audio.get(name)
    if weights is None or weights.ndim != n_axes:
        seen = "missing" if weights is None else f"of shape {tuple(weights.shape)}"
        raise ConversionError(
            f"{found.path}: not a VIP-ANT checkpoint, {name} is {seen}, expected {n_axes} axes"
        )
    return tuple(weights.shape)


def _pair(found: Checkpoint, name: str) -> tuple[int, int] | None:
    """Return a setting of two whole numbers, or of one for both."""
    value = found.setting(name)
    values = [value, value] if isinstance(value, int) else value
    if isinstance(values, list) and len(values) == 2 and all(isinstance(v, int) for v in values):
        return values[0], values[1]
    return None


def _sections(variant: Variant) -> dict[str, str]:
    return {
        "Use": f"""
The authors' README recommends this checkpoint for: {variant.best_for}. To score labels as they do,
put "the sound of" before the label, and do not normalise the vectors of texts.""",
        "What it learnt from": """
Video frames and sounds of about 1.7 million videos of AudioSet; checkpoints whose name begins with
`at-` also captions of AudioCaps' training split. The text tower is CLIP's, unchanged.""",
        "Limits": """
English only. The mel bands depend on the recording's own sample rate: recordings of one rate compare
best with each other. It does not transcribe speech, and it does not identify speakers.""",
    }
