"""`soundsearch bench`: what an encoder is worth on public data sets, and on one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsearch.choices import AudioCapsSplit, AudioSetSplit, ClothoSplit, Measured
from soundsearch.cli.bench_run import BenchOptions, run_data_set, wide_console
from soundsearch.cli.options import Json, path_option, shared_options
from soundsearch.cli.streams import note
from soundsearch.render import to_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure encoders on public benchmarks, or on recordings of your own.",
)


Root = Annotated[
    Path, typer.Argument(metavar="ROOT", readable=False, help="Folder of the data set.")
]


@app.callback()
def bench() -> None:
    """Measure encoders on public benchmarks, or on recordings of your own."""


@app.command()
@shared_options(BenchOptions)
def clotho(
    root: Root,
    split: Annotated[ClothoSplit, typer.Option(help="Part of it.")] = "evaluation",
    *,
    options: BenchOptions,
) -> None:
    """Find the clips of Clotho by their captions, and captions by clips.

    ROOT holds clotho_captions_SPLIT.csv, and the recordings in SPLIT/ or clotho_audio_SPLIT/.
    Embeddings are kept in your cache folder (SOUNDSEARCH_CACHE), so a second run takes seconds,
    and one that was stopped goes on where it was.

    Example: soundsearch bench clotho ~/data/clotho --json clotho.json
    """
    from soundsearch.bench.datasets import read_clotho

    run_data_set(lambda: read_clotho(root, split), options)


@app.command()
@shared_options(BenchOptions)
def audiocaps(
    root: Root,
    split: Annotated[AudioCapsSplit, typer.Option(help="Part of it.")] = "test",
    captions: Annotated[Path | None, path_option("Its CSV. [default: SPLIT.csv in ROOT]")] = None,
    audio: Annotated[
        Path | None, path_option("Folder of its recordings. [default: audio/ in ROOT]")
    ] = None,
    *,
    options: BenchOptions,
) -> None:
    """Find the clips of AudioCaps by their captions, and captions by clips.

    ROOT holds SPLIT.csv or audiocaps_SPLIT.csv, and the recordings in audio/, named by YouTube id
    (with or without the start in seconds) or audiocap_id. Its clips vanish from YouTube: where
    some are missing, say --allow-missing, and the result says over how many it was measured.

    Example: soundsearch bench audiocaps ~/data/audiocaps --allow-missing
    """
    from soundsearch.bench.datasets import read_audiocaps

    run_data_set(lambda: read_audiocaps(root, split, table=captions, audio=audio), options)


@app.command()
@shared_options(BenchOptions)
def audioset(
    root: Root,
    split: Annotated[AudioSetSplit, typer.Option(help="Part of it.")] = "eval",
    segments: Annotated[
        Path | None, path_option("Its list of segments. [default: SPLIT_segments.csv in ROOT]")
    ] = None,
    audio: Annotated[
        Path | None, path_option("Folder of its recordings. [default: audio/ in ROOT]")
    ] = None,
    *,
    options: BenchOptions,
) -> None:
    """Tag the clips of AudioSet by the names of its classes, without training on these.

    ROOT holds SPLIT_segments.csv as it is published, and the segments in audio/, named by YouTube
    id (with or without the start in seconds). Counts mAP, the mean over the classes. Where clips
    are missing, say --allow-missing, and the result says over how many it was measured.

    Example: soundsearch bench audioset ~/data/audioset --protocol vip-ant --allow-missing
    """
    from soundsearch.bench.datasets import read_audioset

    run_data_set(lambda: read_audioset(root, split, table=segments, audio=audio), options)


@app.command()
@shared_options(BenchOptions)
def esc50(root: Root, *, options: BenchOptions) -> None:
    """Classify the clips of ESC-50 by the names of its classes, without training on it.

    ROOT holds meta/esc50.csv and audio/.

    Example: soundsearch bench esc50 ~/data/ESC-50-master --prompt "the sound of {}"
    """
    from soundsearch.bench.datasets import read_esc50

    run_data_set(lambda: read_esc50(root), options)


@app.command()
@shared_options(BenchOptions)
def urbansound8k(root: Root, *, options: BenchOptions) -> None:
    """Classify the clips of UrbanSound8K by the names of its classes, without training on it.

    ROOT holds metadata/UrbanSound8K.csv and audio/fold1/ to audio/fold10/.

    Example: soundsearch bench urbansound8k ~/data/UrbanSound8K
    """
    from soundsearch.bench.datasets import read_urbansound8k

    run_data_set(lambda: read_urbansound8k(root), options)


@app.command()
@shared_options(BenchOptions)
def manifest(
    file: Annotated[Path, typer.Argument(readable=False, help="A CSV file.")],
    split: Annotated[
        str | None, typer.Option(help="Only the rows with this in the column split.")
    ] = None,
    ask: Annotated[
        Measured | None, typer.Option(help="Which of the two, where the CSV has both.")
    ] = None,
    *,
    options: BenchOptions,
) -> None:
    """Measure on recordings of your own, listed in a CSV.

    Its columns are file and caption (a row for each caption), or file and label, perhaps with
    fold. Paths are taken from the folder of the CSV. Captions are searched for, labels classified.

    Example: soundsearch bench manifest doors.csv --model starter --model ./my-bundle
    """
    from soundsearch.bench.datasets import read_manifest

    run_data_set(lambda: read_manifest(file, split=split, ask=ask), options)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", readable=False, help="A result.")],
    second: Annotated[Path, typer.Argument(metavar="B", readable=False, help="Another one.")],
    bootstrap: Annotated[
        int, typer.Option(min=100, help="Resamplings of the clips for intervals and p.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamplings.")] = 0,
    json: Json = False,
) -> None:
    """Say whether B is really better than A, or only by chance.

    Both are results that --json has written, of the same clips under the same protocol, each with
    its .ranks.csv beside it.

    Example: soundsearch bench compare starter.json mine.json
    """
    from dataclasses import asdict

    from soundsearch.bench.compare import compare as compare_results
    from soundsearch.bench.result_files import read_result
    from soundsearch.bench.sheets import comparison_sheet, print_sheets

    found = compare_results(read_result(first), read_result(second), seed=seed, bootstrap=bootstrap)
    if json:
        facts = {
            "first": found.first.to_json(),
            "second": found.second.to_json(),
            "clips": found.n_clips,
            "bootstrap": {"samples": found.bootstrap, "seed": found.seed, "level": 0.95},
            "differences": [asdict(each) for each in found.differences],
        }
        typer.echo(to_json(facts))
    else:
        print_sheets([comparison_sheet(found)], wide_console())


@app.command()
def table(
    result: Annotated[
        Path | None, typer.Argument(readable=False, help="A result that --json has written.")
    ] = None,
    markdown: Annotated[
        Path | None, path_option("Also write the tables here, as Markdown.")
    ] = None,
) -> None:
    """Show published numbers, and where a result stands among them.

    Others rarely say how they treat ties or how many clips they had: take them for landmarks.

    Example: soundsearch bench table clotho.json
    """
    from soundsearch.bench.published import table as published_table
    from soundsearch.bench.result_files import read_result, write_file
    from soundsearch.bench.sheets import print_sheets, sheet_markdown

    found = None if result is None else read_result(result)
    sheets = published_table(found)
    print_sheets(sheets, wide_console())
    if not sheets and found is not None:
        note(f"no numbers are published on {found.run.benchmark}")
    if markdown is not None:
        write_file(markdown, "\n".join(map(sheet_markdown, sheets)).encode())
