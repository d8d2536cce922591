"""The front end of a checkpoint of the VIP-ANT authors, from the settings that it holds.

Every setting that changes features is read, or refused by its name where it differs from what
search and training compute. Settings of training alone (masks, noise) change no features.
Source: VIP-ANT, `cvap/data/audio/transform.py`, `configs/running/audio/default.yaml`; names and
defaults of `torchaudio.compliance.kaldi.fbank`.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from trainer.convert import ConversionError
from trainer.convert.checkpoint import Checkpoint
from trainer.front_ends import VIP_ANT, FrontEnd, of_length

logger = logging.getLogger(__name__)

AUDIO = "running.audio"
#: Window functions of torchaudio -> ours.
WINDOWS = {"hanning": "hann", "povey": "povey"}
#: Numbers of fbank -> fields of `KaldiFbank`.
NUMBERS = {
    "num_mel_bins": "n_mels",
    "low_freq": "f_min",
    "high_freq": "f_max",
    "frame_length": "frame_length_ms",
    "preemphasis_coefficient": "preemphasis",
}
#: Settings that must be so, since features are computed so.
FIXED: dict[str, tuple[Any, ...]] = {
    f"{AUDIO}.eval_norms": (False,),
    f"{AUDIO}.normalized": (False,),
    f"{AUDIO}.dither": (0.0,),
    f"{AUDIO}.tile_audio": (False,),
    f"{AUDIO}.mean_channel": (False,),
    f"{AUDIO}.frame_shift": (10.0,),
    f"{AUDIO}.use_energy": (False,),
    f"{AUDIO}.remove_dc_offset": (True,),
    f"{AUDIO}.round_to_power_of_two": (True,),
    f"{AUDIO}.snip_edges": (True,),
    f"{AUDIO}.subtract_mean": (False,),
    f"{AUDIO}.use_log_fbank": (True,),
    f"{AUDIO}.use_power": (True,),
    f"{AUDIO}.vtln_warp": (1.0,),
    f"{AUDIO}.channel": (-1, 0),
    f"{AUDIO}.sample_rate": (),
    "running.clf": (False,),
}
#: Settings without an influence on features of evaluation: the mean of a clip is removed from each
#: frame anyway, energies are not used, and the rest is of training.
INERT = frozenset(
    [
        *("zero_mean_wf", "htk_compat", "raw_energy", "energy_floor", "min_duration", "vtln_high"),
        *("vtln_low", "blackman_coeff", "transform_audio", "audio_transforms", "transform_fbank"),
        *("fbank_transforms", "max_len", "norms", "window_type", *NUMBERS),
    ]
)


def authors_front_end(found: Checkpoint) -> FrontEnd:
    """Return the front end that a checkpoint was trained with.

    Raises:
        ConversionError: A setting differs from what can be computed; the message names it.
    """
    _refuse_others(found)
    front_end = of_length(_n_frames(found))
    mean, std = norms_of(found)
    values: dict[str, Any] = {**_numbers(found), "mean": mean, "std": std, "window": _window(found)}
    try:
        features = dataclasses.replace(front_end.features, **values)
    except ValueError as error:
        raise ConversionError(
            f"{found.path}: its front end cannot be computed ({error})"
        ) from error
    if features == front_end.features:
        return front_end
    return dataclasses.replace(front_end, name="authors", features=features)


def refuse_other_front_end(found: Checkpoint, front_end: FrontEnd) -> None:
    """Refuse weights for another front end than theirs; the number of frames may differ.

    Raises:
        ConversionError: Features differ; the message names each difference.
    """
    theirs = authors_front_end(found)
    own, other = (_facts(one) for one in (front_end, theirs))
    differing = [
        f"{key} is {other.get(key)}, this run's {own.get(key)}"
        for key in sorted({*own, *other})
        if own.get(key) != other.get(key)
    ]
    if differing:
        raise ConversionError(
            f"{found.path}: trained with another front end ({'; '.join(differing)}); leave out "
            "--front-end, or begin from other weights"
        )


def _facts(front_end: FrontEnd) -> dict[str, Any]:
    """Return what decides features but for their number of frames."""
    features, audio = (dataclasses.asdict(part) for part in (front_end.features, front_end.audio))
    facts = {"kind": front_end.features.kind, **features, **audio}
    for of_length_alone in ("n_frames", "window_s", "hop_s"):
        del facts[of_length_alone]
    return facts


def _refuse_others(found: Checkpoint) -> None:
    for name, allowed in FIXED.items():
        value = found.setting(name)
        if value is not None and value not in allowed:
            expected = " or ".join(map(str, allowed)) or "none, the recording's own"
            raise ConversionError(
                f"{found.path}: its front end has {name} {value!r}, which cannot be computed here; "
                f"expected {expected}"
            )
    fixed = {name.rpartition(".")[2] for name in FIXED}
    unknown = set(found.setting(AUDIO) or {}) - fixed - INERT
    if unknown:
        logger.warning(
            "%s: settings of its front end that are not known here are passed over: %s",
            found.path,
            ", ".join(sorted(unknown)),
        )


def _n_frames(found: Checkpoint) -> int:
    resolution = found.setting("model.audio.resolution")
    named = resolution[0] if isinstance(resolution, list) and resolution else None
    for value in (named, found.setting(f"{AUDIO}.max_len"), found.setting("running.max_audio_len")):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if value is not None and not isinstance(value, str):
            raise ConversionError(
                f"{found.path}: its max_len is {value!r}, expected a number of frames"
            )
    return VIP_ANT.features.n_frames


def _numbers(found: Checkpoint) -> dict[str, float]:
    """Return the numbers of the settings by our names."""
    numbers = {}
    for theirs, ours in NUMBERS.items():
        value = found.setting(f"{AUDIO}.{theirs}")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConversionError(
                f"{found.path}: its front end has {AUDIO}.{theirs} {value!r}, expected a number of 0 or more"
            )
        numbers[ours] = int(value) if ours == "n_mels" else float(value)
    return numbers


def _window(found: Checkpoint) -> str:
    name = found.setting(f"{AUDIO}.window_type")
    if name is None:
        return WINDOWS["hanning"]
    if name not in WINDOWS:
        raise ConversionError(
            f"{found.path}: its front end has {AUDIO}.window_type {name!r}, which cannot be computed "
            f"here; expected {' or '.join(WINDOWS)}"
        )
    return WINDOWS[name]


def norms_of(found: Checkpoint) -> tuple[float, float]:
    """Return mean and standard deviation of the features; 0 and 1 if the settings say none.

    With two views of a clip the authors' code has the published ones written into it.
    """
    published = VIP_ANT.features.mean, VIP_ANT.features.std
    if found.setting("running.multi_view") is True:
        return published
    norms = found.setting(f"{AUDIO}.norms")
    if norms is None:
        logger.warning("%s: its settings name no norms; the published ones are taken", found.path)
        return published
    if norms == []:
        return 0.0, 1.0
    try:
        mean, std = (float(value) for value in norms)
    except (TypeError, ValueError) as error:
        raise ConversionError(
            f"{found.path}: its norms are {norms!r}, expected a mean and a standard deviation"
        ) from error
    return mean, std
