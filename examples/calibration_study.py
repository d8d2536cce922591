"""How the curves of the demo's recordings differ from those that a bundle has.

python -m examples.calibration_study
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path

from soundsearch.encoder.bundle import EncoderBundle
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from trainer.calibrate import calibrate_on
from trainer.calibration_set import demo_set


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    shipped = find_bundle(parser.parse_args().model)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(shipped.folder, copy)
        plain = dataclasses.replace(EncoderBundle.read(copy), relevance=None)
        found, numbers = calibrate_on(plain, demo_set())
    for name, bundle in (("as it is", shipped), ("by the demo", found)):
        for kind, curve in dataclasses.asdict(bundle.relevance).items() if bundle.relevance else ():
            if curve:
                half = -curve["offset"] / curve["slope"]
                print(f"{name:12} {kind:8} slope {curve['slope']:6.3f}, one half at z {half:.2f}")
    for name, value in numbers.items():
        print(f"{value:>8}  {name}" if name != "about" else value)


if __name__ == "__main__":
    main()
