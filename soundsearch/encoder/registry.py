"""Find an encoder bundle by its name.

A name is looked up in this order: a path of a folder, the user's own bundles, the bundles that ship
with the package.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from soundsearch.encoder.bundle import MANIFEST, EncoderBundle
from soundsearch.errors import BundleError, NoHomeError
from soundsearch.paths import own_bundles_folder

#: The encoder of a new index, by default.
DEFAULT_MODEL = "starter"
SHIPPED = Path(__file__).parents[1] / "bundles"


def find_bundle(name: str) -> EncoderBundle:
    """Read the bundle of this name, or in this folder.

    Raises:
        BundleError: There is no such bundle; the message lists those that exist.
    """
    if name in (os.curdir, os.pardir) or os.sep in name or (os.altsep and os.altsep in name):
        return EncoderBundle.read(Path(name))
    for place in _places():
        if _holds_bundle(place / name):
            return EncoderBundle.read(place / name)
    known = ", ".join(sorted({folder.name for folder in bundle_folders()})) or "none"
    raise BundleError(
        f"no encoder named {name!r}; there is: {known} (a folder is given as ./{name})"
    )


def model_name(bundle: EncoderBundle) -> str:
    """By which name `find_bundle` finds this bundle from any folder."""
    return (
        bundle.folder.name if bundle.folder.parent in _places() else os.path.abspath(bundle.folder)
    )


def bundle_folders() -> Iterator[Path]:
    """Yield the folders of all bundles that have a name, the user's own first."""
    for place in _places():
        with contextlib.suppress(OSError):  # the folder is missing or may not be read
            yield from sorted(folder for folder in place.iterdir() if _holds_bundle(folder))


def _places() -> list[Path]:
    """Return the folders that hold bundles, the user's own first."""
    try:
        return [own_bundles_folder(), SHIPPED]
    except NoHomeError:  # without a home folder there are no own bundles
        return [SHIPPED]


def _holds_bundle(folder: Path) -> bool:
    return os.path.isfile(folder / MANIFEST)
