"""Convert CLAP models of the transformers library to bundles: those of LAION, without fusion.

Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and
Keyword-to-Caption Augmentation" (ICASSP 2023). The audio tower is a hierarchical transformer
(HTS-AT) over windows of 10 s at 48 kHz, the text tower a RoBERTa.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import tokenizers
from torch import Tensor, nn

from soundsearch.audio.features import StftLogMel
from soundsearch.audio.windows import AudioConfig
from soundsearch.encoder.bundle import EncoderBundle, TextConfig
from soundsearch.files import sha256_of
from soundsearch.progress import Progress
from trainer.bundle_export import EncoderParts, new_bundle, write_bundle
from trainer.calibration_set import CalibrationSet
from trainer.convert import ConversionError
from trainer.convert.download import check_hub_file
from trainer.model_card import NO_LICENCE

DEFAULT = "laion/clap-htsat-unfused"
#: Sentence that a bare label is put into. Source: the zero-shot example of LAION-CLAP.
PROMPT = "This is a sound of {}."
#: Padding of the feature extractor -> `AudioConfig.short`.
SHORT = {"repeatpad": "repeat-whole", "repeat": "repeat", "pad": "zeros"}
#: Buffers that older uploads lack; their initial values are right.
NOT_WEIGHTS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
#: Names of the file of weights.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class ClapAudio(nn.Module):
    """The audio tower and its projection, for features in the layout of this project."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.audio_model, model.audio_projection

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_mels, n_frames) -> (n, dim), not normalised."""
        inputs = features.transpose(1, 2).unsqueeze(1)  # (n, 1, n_frames, n_mels)
        vectors: Tensor = self.projection(self.tower(input_features=inputs).pooler_output)
        return vectors


class ClapText(nn.Module):
    """The text tower and its projection."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids, attention_mask (n, n_tokens) int64 -> (n, dim), not normalised."""
        outputs = self.tower(input_ids=input_ids, attention_mask=attention_mask)
        vectors: Tensor = self.projection(outputs.pooler_output)
        return vectors


def bundle_name(source: str) -> str:
    """Return the name of a model's bundle, and of its folder."""
    return "clap" if source == DEFAULT else Path(source).name.lower()


def build_clap(
    out: Path,
    source: str = DEFAULT,
    *,
    force: bool = False,
    calibrated_on: CalibrationSet | None = None,
    progress: Progress | None = None,
) -> EncoderBundle:
    """Convert a ClapModel into a bundle.

    Args:
        out: Folder of the bundle.
        source: A folder that save_pretrained wrote, with the processor, or a name of the Hugging
            Face hub.
        force: Whether to replace a bundle in `out`.
        calibrated_on: Recordings by which scores become 0 to 1; None leaves cosines.
        progress: Is notified of the recordings that calibrate.

    Raises:
        ConversionError: The model cannot be loaded, is incomplete, or uses fusion.
        ExportError: The towers cannot be used, or the bundle cannot be written.
    """
    with new_bundle(out, force=force) as folder:
        model, extractor, tokenizer = _load(source)
        _refuse_fusion(model, extractor, source)
        text = model.config.text_config
        positions = text.max_position_embeddings - text.pad_token_id - 1
        write_bundle(
            folder,
            EncoderParts(
                audio_tower=ClapAudio(model),
                text_tower=ClapText(model),
                tokenizer=_tokenizer(tokenizer),
                dim=model.config.projection_dim,
                audio=_audio(extractor, source),
                features=_features(extractor),
                text=TextConfig(
                    max_tokens=min(tokenizer.model_max_length, positions), prompt=PROMPT
                ),
                name=bundle_name(source),
                description=f"CLAP without fusion ({Path(source).name}), converted from transformers",
                licence=_licence(source),
                provenance=f"Converted from {_origin(model, source)}.",
            ),
            command=f"soundsearch models build clap --from {_source_name(source)}",
            sections={
                "Limits": "English only. For training data and intended use see the card of the "
                "model it was converted from.",
            },
            calibrated_on=calibrated_on,
            progress=progress,
        )
    return EncoderBundle.read(out)


def _load(source: str) -> tuple[Any, Any, Any]:
    """Load the model in eval mode, its feature extractor and its tokenizer."""
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    try:
        model, report = ClapModel.from_pretrained(source, output_loading_info=True)
        extractor = ClapFeatureExtractor.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers and the hub raise a dozen kinds
        first = str(error).strip().split("\n")[0] or type(error).__name__
        raise ConversionError(
            f"{source}: no CLAP model that can be loaded ({first}); expected a folder with model, "
            "feature extractor and tokenizer, or a name of the Hugging Face hub and the network"
        ) from error
    _check_published(source, _revision(model))
    lost = sorted(name for name in report["missing_keys"] if not name.endswith(NOT_WEIGHTS))
    if lost:
        raise ConversionError(
            f"{source}: not a complete CLAP model, {len(lost)} weights are missing ({lost[0]}, ...)"
        )
    return model.eval(), extractor, tokenizer


def _revision(model: Any) -> str | None:
    """Return the hub's commit that a model was loaded from; None for one from a folder."""
    revision: str | None = getattr(model.config, "_commit_hash", None)
    return revision


def _check_published(source: str, revision: str | None) -> None:
    """Raise ConversionError if weights from the hub are damaged."""
    from huggingface_hub import try_to_load_from_cache

    for name in () if Path(source).is_dir() else WEIGHTS:
        path = try_to_load_from_cache(source, name, revision=revision)
        if isinstance(path, str):
            check_hub_file(Path(path))


def _refuse_fusion(model: Any, extractor: Any, source: str) -> None:
    if model.config.audio_config.enable_fusion or extractor.truncation == "fusion":
        raise ConversionError(
            f"{source}: a CLAP model with fusion, which embeds random stretches of long recordings; "
            f"expected a model without fusion, such as {DEFAULT}"
        )


def _audio(extractor: Any, source: str) -> AudioConfig:
    if extractor.padding not in SHORT:
        raise ConversionError(
            f"{source}: its extractor pads short sounds by {extractor.padding!r}, expected one of "
            f"{', '.join(SHORT)}"
        )
    return AudioConfig(
        sample_rate=extractor.sampling_rate,
        window_s=float(extractor.max_length_s),
        hop_s=extractor.max_length_s / 2,
        short=cast(Literal["repeat", "zeros"], SHORT[extractor.padding]),
    )


def _features(extractor: Any) -> StftLogMel:
    """Return the extractor's settings; without fusion its mel scale and norm are Slaney's."""
    return StftLogMel(
        n_mels=extractor.feature_size,
        n_frames=extractor.nb_max_samples // extractor.hop_length + 1,
        f_min=float(extractor.frequency_min),
        f_max=float(extractor.frequency_max),
        n_fft=extractor.fft_window_size,
        hop_length=extractor.hop_length,
    )


def _tokenizer(tokenizer: Any) -> tokenizers.Tokenizer:
    """Return the fast tokenizer, with the text tower's padding token."""
    fast = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    fast.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return fast


def _licence(source: str) -> str:
    """Return the licence that the model's card states."""
    from huggingface_hub import ModelCard

    folder = Path(source)
    try:
        card = ModelCard.load(folder / "README.md" if folder.is_dir() else source)
    except Exception:  # no card, no network, no such model
        return NO_LICENCE
    stated = card.data.license
    return f"{stated}, as the card of {folder.name} says" if stated else NO_LICENCE


def _source_name(source: str) -> str:
    """Return the source for the card: of a folder only its name."""
    return Path(source).name if Path(source).is_dir() else source


def _origin(model: Any, source: str) -> str:
    folder = Path(source)
    if not folder.is_dir():
        return f"{source} of the Hugging Face hub, revision {_revision(model)}"
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    return (
        f"{folder.name}, {found[0].name} with SHA-256 {sha256_of(found[0])}"
        if found
        else folder.name
    )
