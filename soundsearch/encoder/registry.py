"""Names to encoder bundles: where bundles live and how one is found.

Looked up in this order: a path to a folder, the person's own bundles, those that ship with the
package.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from soundsearch.encoder.bundle import MANIFEST, EncoderBundle
from soundsearch.errors import BundleError, NoHomeError
from soundsearch.paths import own_bundles_folder

#: The encoder of a new index unless another is asked for.
DEFAULT_MODEL = "starter"
SHIPPED = Path(__file__).parents[1] / "bundles"


def find_bundle(name: str) -> EncoderBundle:
    """The bundle of this name, or in this folder. Raises BundleError naming what there is."""
    if name in (os.curdir, os.pardir) or os.sep in name or (os.altsep and os.altsep in name):
        return EncoderBundle.read(Path(name))
    for place in _places():
        if _holds_bundle(place / name):
            return EncoderBundle.read(place / name)
    known = ", ".join(sorted({folder.name for folder in bundle_folders()})) or "none"
    raise BundleError(
        f"no encoder named {name!r}; there is: {known} (a folder is given as ./{name})"
    )


def bundle_folders() -> Iterator[Path]:
    """Folders of all bundles that can be named, the person's own first."""
    for place in _places():
        with contextlib.suppress(OSError):  # a folder that is not there, or not for us
            yield from sorted(folder for folder in place.iterdir() if _holds_bundle(folder))


def _places() -> list[Path]:
    """Folders that bundles are looked for in, the person's own first."""
    try:
        return [own_bundles_folder(), SHIPPED]
    except NoHomeError:  # who has no home has no encoders in it
        return [SHIPPED]


def _holds_bundle(folder: Path) -> bool:
    return os.path.isfile(folder / MANIFEST)
