"""`soundsearch train probe` and `train finetune`: supervised classification and tagging."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from soundsearch.choices import AudioSetTraining, Optimiser, Precision
from soundsearch.cli.options import DeviceChoice, path_option
from soundsearch.cli.progress import progress_on_stderr
from soundsearch.cli.streams import command_line, note
from soundsearch.cli.train.extra import training_extra

if TYPE_CHECKING:
    from soundsearch.bench.results import BenchmarkResult

Place = Annotated[
    str,
    typer.Argument(
        metavar="NAME=FOLDER",
        help="Labels with folds: esc50=FOLDER, urbansound8k=FOLDER, or manifest=FILE; or "
        "audioset=FOLDER, whose eval segments are tagged.",
    ),
]
Learn = Annotated[
    AudioSetTraining,
    typer.Option(help="The list of AudioSet that is learnt from; others have folds."),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing", help="Measure what there is when clips are missing or unusable."
    ),
]
Json = Annotated[Path | None, path_option("Write the result here, beside it the ranks.")]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that decode and compute features; 0 for none.")
]


def probe(
    data: Place,
    model: Annotated[
        str, typer.Option(help="Encoder: a name from `models list`, its folder, or that of a run.")
    ] = "starter",
    l2: Annotated[
        float, typer.Option(help="Weight of the squared weights; 1 / C of other programs.")
    ] = 1.0,
    learn: Learn = "balanced_train",
    allow_missing: AllowMissing = False,
    json: Json = None,
    workers: Workers = 0,
    device: DeviceChoice = "auto",
) -> None:
    """Classify by frozen embeddings: logistic regression on all other folds, fold by fold.

    AudioSet has no folds: what learnt from a training list tags its evaluation list.

    Example: soundsearch train probe esc50=~/data/ESC-50-master --model starter
    """
    if not l2 > 0:
        raise typer.BadParameter(f"must be above 0, not {l2:g}", param_hint="--l2")
    with training_extra():
        from trainer.probe import probe_bundle, probe_run
        from trainer.runs import CONFIG
        from trainer.supervised import read_labelled
    labelled = read_labelled(data, learn)
    with progress_on_stderr() as progress:
        if (Path(model) / CONFIG).exists():
            result = probe_run(
                Path(model),
                labelled,
                l2=l2,
                allow_missing=allow_missing,
                device=device,
                n_workers=workers,
                command=command_line(),
                progress=progress,
            )
        else:
            from soundsearch.encoder.embedding_cache import EmbeddingCache, cache_file
            from soundsearch.encoder.registry import find_bundle
            from soundsearch.encoder.towers import Encoder

            encoder = Encoder(find_bundle(model), device)
            with EmbeddingCache(cache_file(), encoder) as cache:
                result = probe_bundle(
                    encoder,
                    labelled,
                    cache,
                    l2=l2,
                    allow_missing=allow_missing,
                    jobs=max(1, workers),
                    command=command_line(),
                    progress=progress,
                )
    _show(result, json)


def finetune(
    data: Place,
    init: Annotated[Path, typer.Option(help="Folder of the run that every fold begins from.")],
    run: Annotated[Path, typer.Option(help="Folder for the scores of each fold and epoch.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the other folds.")] = 32,
    warmup_epochs: Annotated[
        int, typer.Option(min=0, help="Passes in which the learning rate rises.")
    ] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Clips in a step.")] = 50,
    optimiser: Annotated[Optimiser, typer.Option(help="The paper's is lars.")] = "lars",
    learning_rate: Annotated[
        float | None, typer.Option(help="[default: 0.2 x batch size / 256; adamw: 5e-4]")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Of matrix products.")] = "fp32",
    seed: Annotated[int, typer.Option(min=0, help="Of head, order, crops and masks.")] = 1213,
    epoch: Annotated[
        Literal["last", "best"],
        typer.Option(
            help="Whose numbers are shown. best is the epoch with the best mean of the folds, as "
            "the paper's authors have it: chosen on the clips that are measured."
        ),
    ] = "last",
    learn: Learn = "balanced_train",
    allow_missing: AllowMissing = False,
    json: Json = None,
    workers: Workers = 0,
    device: DeviceChoice = "auto",
) -> None:
    """Train tower and classifier on all other folds, fold by fold.

    AudioSet has no folds: what learnt from a training list tags its evaluation list. A command
    that was stopped goes on at its last checkpoint.

    Example: soundsearch train finetune esc50=~/data/ESC-50-master --init runs/va --run runs/va-esc50
    """
    with training_extra():
        from trainer.finetune import FinetuneConfig, finetune
        from trainer.supervised import read_labelled
    try:
        config = FinetuneConfig(
            epochs=epochs,
            warmup_epochs=warmup_epochs,
            batch_size=batch_size,
            optimiser=optimiser,
            learning_rate=learning_rate,
            precision=precision,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    labelled = read_labelled(data, learn)
    with progress_on_stderr() as progress:
        result = finetune(
            init,
            labelled,
            run,
            config,
            epoch=epoch,
            allow_missing=allow_missing,
            device=device,
            n_workers=workers,
            command=command_line(),
            progress=progress,
        )
    _show(result, json)


def _show(result: BenchmarkResult, json: Path | None) -> None:
    """The table on stdout, the accuracy of each fold on stderr, and the files."""
    from soundsearch.bench.result_files import write_result
    from soundsearch.bench.sheets import print_results
    from soundsearch.cli.bench_run import wide_console

    for fold, accuracy in result.folds.items():
        note(f"fold {fold}: accuracy {100 * accuracy:.1f}")
    print_results([result], wide_console())
    if json is not None:
        write_result(result, json)
