"""Side files: what a frozen encoder makes of the examples of one shard, one or more vectors an example.

Beside shard-000000.tar lies shard-000000.KIND.ENCODER.safetensors with the tensors

    vectors   (total, dim) float16, not normalised
    first     (n_examples + 1,) int64; example i owns the rows first[i] to first[i + 1]

and, as metadata, which encoder made them and the digest of the shard they were made from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from soundsearch.choices import Texts
from trainer.data.example import ShardError
from trainer.data.shard_folder import ShardFolder
from trainer.data.side_files import SideFile, firsts_of, write_side_file

Array = NDArray[np.float32]
Kind = Literal["images", Texts]

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class VectorsFacts:
    """Whose vectors these are.

    encoder: the slug in the file's name. model, pretrained: what it was loaded from.
    fingerprint: SHA-256 over its weights. dim: numbers a vector.
    """

    kind: str
    encoder: str
    model: str
    pretrained: str
    fingerprint: str
    dim: int


def vectors_path(shard: Path, kind: str, encoder: str) -> Path:
    """The side file of this kind and encoder beside a shard."""
    return shard.with_name(f"{shard.stem}.{kind}.{encoder}.safetensors")


def write_vectors(path: Path, rows: Sequence[Array], facts: VectorsFacts, digest: str) -> None:
    """Write the vectors of a shard, rows[i] (n_i, dim) for example i, atomically.

    digest: the shard's. The order of examples is the shard's. Raises ShardError if a vector is not
    finite or too long for float16, or if the file cannot be written.
    """
    for i, row in enumerate(rows):
        if row.ndim != 2 or row.shape[1] != facts.dim:
            raise ValueError(f"rows[{i}] must be (n, {facts.dim}), not {row.shape}")
    empty = np.zeros((0, facts.dim), np.float16)
    with np.errstate(over="ignore"):
        vectors = np.concatenate([empty, *(row.astype(np.float16) for row in rows)])
    if not np.isfinite(vectors).all():
        raise ShardError(f"{path}: {facts.encoder} gave a vector that is not finite in float16")
    tensors = {"vectors": vectors, "first": firsts_of(rows)}
    write_side_file(path, tensors, metadata_of(facts), digest)


def metadata_of(facts: VectorsFacts) -> dict[str, str]:
    """Return facts as they stand in a side file."""
    return {name: str(value) for name, value in asdict(facts).items()}


class ShardVectors(SideFile):
    """The vectors of one shard.

    Attributes:
        facts: Whose vectors they are.
        first: (n_examples + 1,) int64, which rows are whose.
    """

    def __init__(self, path: Path, digest: str | None) -> None:
        """Map a file; arguments and errors as `SideFile`."""
        super().__init__(path, digest, _remedy(path))
        try:
            named = {field.name: self.metadata[field.name] for field in fields(VectorsFacts)}
            self.facts = VectorsFacts(**{**named, "dim": int(named["dim"])})  # type: ignore[arg-type]
        except (KeyError, ValueError) as error:
            raise self.unfit(f"not a file of vectors ({error} is missing or wrong)") from error
        self._vectors, self.first = self.rows("vectors")
        if self._vectors.shape[1:] != (self.facts.dim,):
            raise self.unfit("damaged, its vectors have another dimension than they should")

    def __len__(self) -> int:
        return len(self.first) - 1

    def of(self, i: int) -> Array:
        """The vectors of example i, (n_i, dim) float32; n_i may be 0."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self._vectors[self.first[i] : self.first[i + 1]].astype(np.float32)


def encoders_of(folder: Path, kind: str) -> list[str]:
    """The encoders of which the folder holds vectors of this kind, sorted."""
    name = re.compile(rf".+\.{re.escape(kind)}\.(.+)\.safetensors")
    found = (name.fullmatch(path.name) for path in folder.glob(f"*.{kind}.*.safetensors"))
    return sorted({match[1] for match in found if match})


def stored_facts(shards: ShardFolder, kind: Kind, encoder: str | None) -> VectorsFacts:
    """Whose vectors of this kind lie beside the shards of a folder: this encoder's, or the only one's.

    Raises ShardError if there are none, or several and none is chosen.
    """
    paths = {
        known: [
            path for shard in shards.shards if (path := vectors_path(shard, kind, known)).exists()
        ]
        for folder in shards.folders
        for known in encoders_of(folder, kind)
    }
    there = [known for known, some in paths.items() if some]
    missing = f"{shards}: no vectors of {kind}"
    if not there:
        raise ShardError(f"{missing} here; {_remedy(vectors_path(shards.shards[0], kind, 'any'))}")
    if encoder is None and len(there) > 1:
        raise ShardError(
            f"{shards}: vectors of {kind} by {', '.join(there)}; choose one with --encoder"
        )
    if encoder is not None and encoder not in there:
        raise ShardError(f"{missing} by {encoder}; there are: {', '.join(there)}")
    return ShardVectors(paths[encoder or there[0]][0], None).facts


def _remedy(path: Path) -> str:
    """What makes a side file, by its name."""
    kind = next((part for part in path.name.split(".") if part in KINDS), "images")
    command = "embed-images" if kind == "images" else "embed-captions"
    texts = f" --texts {kind}" if kind.startswith("labels") else ""
    return f"run `soundsearch train {command} {path.parent}{texts}`"
