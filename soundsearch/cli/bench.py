"""`soundsearch bench`: what an encoder is worth on public data sets, and on one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsearch.choices import AudioCapsSplit, ClipScore, ClothoSplit, Measured, ProtocolName
from soundsearch.cli.options import DeviceChoice, Json, shared_options
from soundsearch.cli.progress import progress_on_stderr

if TYPE_CHECKING:
    from rich.console import Console

    from soundsearch.bench.datasets import DataSet
    from soundsearch.bench.results import BenchmarkResult
    from soundsearch.bench.run import Settings
    from soundsearch.encoder.bundle import EncoderBundle

#: What --json is told to print in place of the table.
STDOUT = Path("-")
#: Columns of a table that goes to a file or a pipe.
FILE_WIDTH = 240

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure encoders on public benchmarks, or on recordings of your own.",
)


Root = Annotated[
    Path, typer.Argument(metavar="ROOT", readable=False, help="Folder of the data set.")
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark can be told: each field is an option, see `_with_options`."""

    model: Annotated[
        list[str] | None,
        typer.Option(help="Encoder: a name from `models list`, or a folder (repeatable)."),
    ] = None
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="What is counted and how; docs/benchmarks.md explains them."),
    ] = "literature"
    clip_score: Annotated[
        ClipScore | None,
        typer.Option(
            help="A clip scores by its best window, as in a search, or by the mean of its windows' "
            "embeddings. [default: best; vip-ant and mteb-v2 have one embedding for each clip]",
            show_default=False,
        ),
    ] = None
    merge_identical_captions: Annotated[
        bool,
        typer.Option(
            "--merge-identical-captions", help="Equal captions are one, right for all their clips."
        ),
    ] = False
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Sentence that each class name, or caption, is put into, at {}. [default: the "
            "protocol's; for class names else the encoder's]",
            show_default=False,
        ),
    ] = None
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Measure what there is when clips are missing or unusable; the result says how many.",
        ),
    ] = False
    json: Annotated[
        Path | None,
        typer.Option(
            allow_dash=True,
            readable=False,
            help="Write the result here, beside it the ranks; - prints JSON, a line for each "
            "encoder, in place of the table. With several encoders each gets a file FILE.ENCODER.json.",
        ),
    ] = None
    markdown: Annotated[
        Path | None, typer.Option(readable=False, help="Write the tables here, as Markdown.")
    ] = None
    ranks: Annotated[
        Path | None,
        typer.Option(readable=False, help="Write where the right answers of every query stood."),
    ] = None
    plots: Annotated[
        Path | None, typer.Option(readable=False, help="Write figures into this folder.")
    ] = None
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamplings of the clips for the 95 % intervals; 0: none.")
    ] = 1000
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamplings.")] = 0
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Embed everything anew, and keep no embeddings."),
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", min=1, help="Clips read at a time. [default: one per core]"),
    ] = None
    device: DeviceChoice = "auto"


@app.callback()
def bench() -> None:
    """Measure encoders on public benchmarks, or on recordings of your own."""


@app.command()
@shared_options(Options)
def clotho(
    root: Root,
    split: Annotated[ClothoSplit, typer.Option(help="Part of it.")] = "evaluation",
    *,
    options: Options,
) -> None:
    """Find the clips of Clotho by their captions, and captions by clips.

    ROOT holds clotho_captions_SPLIT.csv, and the recordings in SPLIT/ or clotho_audio_SPLIT/.
    Embeddings are kept in your cache folder (SOUNDSEARCH_CACHE), so a second run takes seconds,
    and one that was stopped goes on where it was.

    Example: soundsearch bench clotho ~/data/clotho --json clotho.json
    """
    from soundsearch.bench.datasets import read_clotho

    _run(lambda: read_clotho(root, split), options)


@app.command()
@shared_options(Options)
def audiocaps(
    root: Root,
    split: Annotated[AudioCapsSplit, typer.Option(help="Part of it.")] = "test",
    captions: Annotated[
        Path | None,
        typer.Option(
            readable=False, help="Its CSV. [default: SPLIT.csv in ROOT]", show_default=False
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="Folder of its recordings. [default: audio/ in ROOT]",
            show_default=False,
        ),
    ] = None,
    *,
    options: Options,
) -> None:
    """Find the clips of AudioCaps by their captions, and captions by clips.

    ROOT holds SPLIT.csv or audiocaps_SPLIT.csv, and the recordings in audio/, named by YouTube id
    (with or without the start in seconds) or audiocap_id. Its clips vanish from YouTube: where
    some are missing, say --allow-missing, and the result says over how many it was measured.

    Example: soundsearch bench audiocaps ~/data/audiocaps --allow-missing
    """
    from soundsearch.bench.datasets import read_audiocaps

    _run(lambda: read_audiocaps(root, split, table=captions, audio=audio), options)


@app.command()
@shared_options(Options)
def esc50(root: Root, *, options: Options) -> None:
    """Classify the clips of ESC-50 by the names of its classes, without training on it.

    ROOT holds meta/esc50.csv and audio/.

    Example: soundsearch bench esc50 ~/data/ESC-50-master --prompt "the sound of {}"
    """
    from soundsearch.bench.datasets import read_esc50

    _run(lambda: read_esc50(root), options)


@app.command()
@shared_options(Options)
def urbansound8k(root: Root, *, options: Options) -> None:
    """Classify the clips of UrbanSound8K by the names of its classes, without training on it.

    ROOT holds metadata/UrbanSound8K.csv and audio/fold1/ to audio/fold10/.

    Example: soundsearch bench urbansound8k ~/data/UrbanSound8K
    """
    from soundsearch.bench.datasets import read_urbansound8k

    _run(lambda: read_urbansound8k(root), options)


@app.command()
@shared_options(Options)
def manifest(
    file: Annotated[Path, typer.Argument(readable=False, help="A CSV file.")],
    split: Annotated[
        str | None, typer.Option(help="Only the rows with this in the column split.")
    ] = None,
    ask: Annotated[
        Measured | None, typer.Option(help="Which of the two, where the CSV has both.")
    ] = None,
    *,
    options: Options,
) -> None:
    """Measure on recordings of your own, listed in a CSV.

    Its columns are file and caption (a row for each caption), or file and label, perhaps with
    fold. Paths are taken from the folder of the CSV. Captions are searched for, labels classified.

    Example: soundsearch bench manifest doors.csv --model starter --model ./my-bundle
    """
    from soundsearch.bench.datasets import read_manifest

    _run(lambda: read_manifest(file, split=split, ask=ask), options)


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
    from soundsearch.bench.report import comparison_sheet, print_sheets
    from soundsearch.bench.results import read_result
    from soundsearch.render import to_json

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
        print_sheets([comparison_sheet(found)], _stdout())


@app.command()
def table(
    result: Annotated[
        Path | None, typer.Argument(readable=False, help="A result that --json has written.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(readable=False, help="Also write the tables here, as Markdown.")
    ] = None,
) -> None:
    """Show published numbers, and where a result stands among them.

    Others rarely say how they treat ties or how many clips they had: take them for landmarks.

    Example: soundsearch bench table clotho.json
    """
    from soundsearch.bench.published import table as published_table
    from soundsearch.bench.report import print_sheets, sheet_markdown
    from soundsearch.bench.results import read_result

    found = None if result is None else read_result(result)
    sheets = published_table(found)
    print_sheets(sheets, _stdout())
    if not sheets and found is not None:
        typer.echo(f"no numbers are published on {found.run.benchmark}", err=True)
    if markdown is not None:
        _write_text(markdown, "\n".join(map(sheet_markdown, sheets)))


def _run(read: Callable[[], DataSet], options: Options) -> None:
    """Run one data set with each encoder; show and write the results."""
    from soundsearch.bench.run import run_benchmark
    from soundsearch.encoder.embedding_cache import EmbeddingCache, cache_file
    from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
    from soundsearch.encoder.towers import Encoder

    settings = _settings(options)
    bundles = [find_bundle(name) for name in options.model or [DEFAULT_MODEL]]
    _refuse_equal_names(bundles)
    data = read()
    cache_path = None if options.no_cache else cache_file()
    results = []
    for bundle in bundles:
        encoder = Encoder(bundle, options.device)
        with (
            EmbeddingCache(cache_path, encoder) as cache,
            progress_on_stderr(bundle.name) as progress,
        ):
            result = run_benchmark(encoder, data, settings, cache, progress)
        _write(result, options, several=len(bundles) > 1)
        results.append(result)
    _show(results, options)


def _settings(options: Options) -> Settings:
    import os
    import shlex
    import sys

    from soundsearch.bench.protocols import protocol_named
    from soundsearch.bench.run import Settings
    from soundsearch.errors import BenchmarkError

    try:
        return Settings(
            protocol=protocol_named(options.protocol),
            clip_score=options.clip_score,
            merge_identical=options.merge_identical_captions,
            prompt=options.prompt,
            allow_missing=options.allow_missing,
            jobs=options.jobs or os.cpu_count() or 1,
            seed=options.seed,
            bootstrap=options.bootstrap,
            command=shlex.join(["soundsearch", *sys.argv[1:]]),
        )
    except BenchmarkError as error:
        raise typer.BadParameter(str(error)) from error


def _refuse_equal_names(bundles: list[EncoderBundle]) -> None:
    names = [bundle.name for bundle in bundles]
    for bundle in bundles:
        if names.count(bundle.name) > 1:
            raise typer.BadParameter(
                f"two encoders are called {bundle.name}; measure them one after the other"
            )


def _write(result: BenchmarkResult, options: Options, *, several: bool) -> None:
    """The files of one result. several: there are others, whose files need other names."""
    from soundsearch.bench.results import write_ranks_csv, write_result

    def of_this(path: Path) -> Path:
        return (
            path.with_suffix(f".{_in_a_name(result.run.model)}{path.suffix}") if several else path
        )

    if options.json is not None and options.json != STDOUT:
        write_result(result, of_this(options.json))
    if options.ranks is not None:
        write_ranks_csv(result, of_this(options.ranks))


def _show(results: list[BenchmarkResult], options: Options) -> None:
    """The table or JSON on stdout, and the files that hold all results together."""
    import json

    from soundsearch.bench.report import markdown, print_results

    if options.json == STDOUT:
        for result in results:
            typer.echo(json.dumps(result.to_json()))
    else:
        print_results(results, _stdout())
    if options.markdown is not None:
        _write_text(options.markdown, markdown(results))
    if options.plots is not None:
        _plot(results, options.plots)


def _plot(results: list[BenchmarkResult], folder: Path) -> None:
    from soundsearch.bench.plots import plot_confusion, plot_recall

    run = results[0].run
    what = _in_a_name(f"{run.benchmark}-{run.split}")
    if results[0].task == "retrieval":
        plot_recall(results, folder / f"{what}-recall.png")
    else:
        for result in results:
            name = _in_a_name(result.run.model)
            plot_confusion(result, folder / f"{what}-{name}-confusion.png")


def _in_a_name(text: str) -> str:
    """Fit to be a part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def _write_text(path: Path, text: str) -> None:
    from soundsearch.errors import BenchmarkError

    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror or error}") from error


def _stdout() -> Console:
    """For tables: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    console = Console(emoji=False)
    return console if console.is_terminal else Console(emoji=False, width=FILE_WIDTH)
