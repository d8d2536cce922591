"""The published checkpoints of VIP-ANT to bundles that score as its authors' code does.

Zhao et al., "Connecting the Dots between Audio and Text without Parallel Data through Visual
Knowledge Transfer" (NAACL 2022): an audio tower in the space of CLIP ViT-B/32. The checkpoint is
the audio tower alone; texts go through CLIP's own tower. Windows are heard at the recording's own
rate and from its first channel; prompt, crop and un-normalised texts are those of the authors'
protocol.
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
from trainer.convert import ConversionError
from trainer.convert.checkpoint import Checkpoint, read_checkpoint
from trainer.convert.download import check_sha256, downloads_folder, fetch
from trainer.export import Parts, new_bundle, text_parts, write_bundle
from trainer.front_ends import VIP_ANT
from trainer.towers.clip import ClipChoice, ClipError, FrozenClip, load_clip
from trainer.towers.vit import TowerError, VitConfig, vit_from_authors

logger = logging.getLogger(__name__)

BASE_URL = "https://storage.googleapis.com/ai2-mosaic-public/projects/vipant/model"
#: Folders of the two trainings: sounds against frames of videos (VA), and then captions too (AT).
VA, AT = "01FFQTZK9YBPRDQHHR6157AGBR", "01FM2Y9HJ896B2G6NKRXTEVXZ7"
#: The CLIP both were trained against.
CLIP = ClipChoice(model="ViT-B-32-quickgelu", pretrained="openai")
#: Numbers to a head of attention in every CLIP.
HEAD_WIDTH = 64
#: The windows of a bundle are longer than its frames by this, as the authors' crops are.
SPARE_S = 0.05
LICENCE = (
    "the authors' README states MIT for their repository and says nothing of the weights apart; "
    "CLIP: MIT (OpenAI)"
)


@dataclass(frozen=True)
class Variant:
    """One published checkpoint: its file, and the frames (10 ms) it hears if not those it was
    trained with. best_for: where the authors' README recommends it. sha256: of the file; the
    authors publish none.
    """

    file: str
    best_for: str
    n_frames: int | None = None
    sha256: str | None = None

    @property
    def url(self) -> str:
        """Where the authors keep it."""
        return f"{BASE_URL}/{self.file}"


VARIANTS: dict[VipAntVariant, Variant] = {
    "clotho": Variant(f"{VA}/00043681.pth", "Clotho, no captions seen"),
    "clotho-18s": Variant(f"{VA}/00043681.pth", "Clotho in 18 s, no captions seen", 1800),
    "audiocaps": Variant(f"{VA}/00051623.pth", "AudioCaps, no captions seen"),
    "start": Variant(f"{VA}/00071478.pth", "going on with captions"),
    "us8k": Variant(f"{VA}/00079420.pth", "UrbanSound8K, no captions seen"),
    "esc50": Variant(f"{VA}/00083391.pth", "ESC-50, no captions seen"),
    "at-clotho": Variant(f"{AT}/00004140.pth", "Clotho, ESC-50 and UrbanSound8K"),
    "at-audiocaps": Variant(f"{AT}/00006210.pth", "AudioCaps"),
    "at-clotho-18s": Variant(f"{AT}/00006900.pth", "Clotho in 18 s", 1800),
}
#: The one for searching by words: it has heard captions, and is the best of those for three tasks.
DEFAULT: VipAntVariant = "at-clotho"


def bundle_name(variant: VipAntVariant) -> str:
    """Name of the bundle of a variant, and of its folder."""
    return "vip-ant" if variant == DEFAULT else f"vip-ant-{variant}"


def build_vip_ant(
    out: Path,
    variant: VipAntVariant = DEFAULT,
    *,
    checkpoint: Path | None = None,
    clip: Path | None = None,
    sha256: str | None = None,
    force: bool = False,
) -> EncoderBundle:
    """Convert a checkpoint into a bundle in `out`.

    checkpoint: a file of the authors', else the variant's is fetched. clip: weights of CLIP
    ViT-B/32, else open_clip fetches them. sha256: refuse a checkpoint that has another; that of a
    fetched one is logged.
    Raises ConversionError, ClipError or ExportError, one line.
    """
    chosen = VARIANTS[variant]
    chosen = dataclasses.replace(chosen, sha256=sha256 or chosen.sha256)
    with new_bundle(out, force=force) as folder:
        file = _of_variant(checkpoint, variant) if checkpoint else _fetched(chosen)
        if checkpoint and sha256:
            otherwise = "give the file that was meant with --checkpoint FILE"
            check_sha256(file, sha256, f"{file}: another file", otherwise)
        found = read_checkpoint(file)
        vit = _vit_config(found, chosen.n_frames)
        tower = _tower(found, vit)
        frozen = _clip(clip)
        if frozen.dim != vit.dim:
            raise ConversionError(
                f"{file}: its vectors have {vit.dim} numbers, those of CLIP {frozen.choice.model} "
                f"{frozen.dim}; they were not trained together"
            )
        mean, std = _norms(found)
        logger.info(
            "%s: %d frames, stride %s, mean %g, std %g",
            file.name,
            vit.n_frames,
            vit.stride,
            mean,
            std,
        )
        source = f"at {chosen.url}" if checkpoint is None else "given as a file"
        given = " --checkpoint FILE" if checkpoint else ""
        write_bundle(
            folder,
            Parts(
                audio_tower=tower,
                **text_parts(frozen),
                audio=dataclasses.replace(VIP_ANT.audio, window_s=vit.n_frames / 100 + SPARE_S),
                features=dataclasses.replace(
                    VIP_ANT.features, n_mels=vit.n_mels, n_frames=vit.n_frames, mean=mean, std=std
                ),
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
        )
    return EncoderBundle.read(out)


def _of_variant(checkpoint: Path, variant: VipAntVariant) -> Path:
    """The file, unless its name is that of another variant's."""
    others = [name for name, known in VARIANTS.items() if Path(known.file).name == checkpoint.name]
    if others and variant not in others:
        raise ConversionError(
            f"{checkpoint}: by its name not the checkpoint of {variant}; "
            f"add --variant {' or --variant '.join(others)}"
        )
    return checkpoint


def _fetched(variant: Variant) -> Path:
    path = downloads_folder() / "vip-ant" / variant.file
    otherwise = "give a file that you have with --checkpoint FILE"
    return fetch(variant.url, path, otherwise, variant.sha256)


def _clip(file: Path | None) -> FrozenClip:
    choice = dataclasses.replace(CLIP, pretrained=str(file)) if file else CLIP
    try:
        return load_clip(choice)
    except ClipError as error:
        if file is not None:
            raise
        raise ConversionError(
            f"CLIP's text tower cannot be had: {str(error).split(';')[0]}; "
            "give a file of its weights (ViT-B-32.pt) with --clip FILE"
        ) from error


def _vit_config(found: Checkpoint, n_frames: int | None) -> VitConfig:
    """The tower of a checkpoint, by its settings; what they leave out, by the shapes of weights."""
    kernel, proj = (
        _shape(found, "pre_encoder.conv1.weight", 4),
        _shape(found, "post_encoder.proj", 2),
    )
    layers = {name.split(".")[2] for name in found.audio if name.startswith("encoder.resblocks.")}
    frames, mels = _pair(found, "model.audio.resolution") or (
        found.setting("running.audio.max_len"),
        found.setting("running.audio.num_mel_bins"),
    )
    width = kernel[0]
    try:
        return VitConfig(
            width=width,
            n_layers=len(layers),
            n_heads=max(1, width // HEAD_WIDTH),
            patch=kernel[2],
            stride=_pair(found, "model.audio.pre_encoder.stride") or VitConfig.stride,
            in_channels=kernel[1],
            n_mels=int(mels or VitConfig.n_mels),
            n_frames=n_frames or int(frames or VitConfig.n_frames),
            dim=proj[1],
        )
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{found.path}: its settings make no tower ({error})") from error


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
    """A setting of two whole numbers, or of one that counts for both."""
    value = found.setting(name)
    values = [value, value] if isinstance(value, int) else value
    if isinstance(values, list) and len(values) == 2 and all(isinstance(v, int) for v in values):
        return values[0], values[1]
    return None


def _norms(found: Checkpoint) -> tuple[float, float]:
    """Mean and deviation that features are normalised with; none if the settings say so."""
    norms = found.setting("running.audio.norms")
    if norms is None:
        logger.warning("%s: its settings name no norms; the published ones are taken", found.path)
        return VIP_ANT.features.mean, VIP_ANT.features.std
    if norms == []:
        return 0.0, 1.0
    try:
        mean, std = (float(value) for value in norms)
    except (TypeError, ValueError) as error:
        raise ConversionError(
            f"{found.path}: its norms are {norms!r}, expected a mean and a standard deviation"
        ) from error
    return mean, std


def _sections(variant: Variant) -> dict[str, str]:
    return {
        "Use": f"""
The authors' README recommends this checkpoint for: {variant.best_for}. To score labels as they do,
take "the sound of" and the label, and leave the texts' vectors as long as they are.""",
        "What it learnt from": """
Frames and sounds of about 1.7 million videos of AudioSet; those whose name begins with `at-`
also saw captions of AudioCaps' training split. The texts' tower is CLIP's, untouched.""",
        "Limits": """
English only. The recording's own rate decides how wide its mel bands are: recordings of one rate
compare best with each other. It does not transcribe speech, and it recognises no one.""",
    }
