"""``bifocal doctor``: does this machine decode exactly?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bifocal.stream.exact import Backend


def doctor(
    model: Annotated[
        str, typer.Option(help="An installed model, or the folder of a packed one.")
    ] = "lowfirst",
    trial: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Check that every engine on this machine decodes to the same integers."""
    import json
    from dataclasses import asdict

    from bifocal.runtime import doctor as check
    from bifocal.runtime.engines.float_engines import REFERENCE
    from bifocal.runtime.model import Model
    from bifocal.runtime.registry import model_folder
    from bifocal.stream.entropy_model import EntropyModel

    folder = model_folder(model)
    if trial:
        task = check.Trial(**json.loads(trial))
        outcome = check.examine(task, EntropyModel.load(folder), _backend(task.backend, folder, task.threads))
        print(json.dumps(asdict(outcome)))
        return
    for line in check.versions():
        print(line)
    outcomes = {}
    print(f"\n{'engine':<15} {'threads':>7} {'kernels':<9} {'exact layers run':>16}  streams and latents")
    for item in check.plan_trials(_torch_backends()):
        outcome = outcomes[item] = check.run_trial(item, folder)
        result = outcome.error or f"{outcome.small[:12]} {outcome.large[:12]}"
        print(
            f"{item.backend:<15} {item.threads:>7} {item.core or 'own':<9} {outcome.layers:>16}  {result}",
            flush=True,
        )
    print("\npixels, where only they depend on it (--backend): levels of 255 from the reference")
    for report in check.float_backends(Model.load(folder)):
        off = report.error or f"mean {report.mean:.3f}, at most {report.largest}"
        default = " (default)" if report.backend == REFERENCE else ""
        print(f"{report.backend + default:<26} {report.precision:<64} {off}")
    expected = check.expected(folder)
    if not check.agree(outcomes, expected):
        print(
            "\nThis machine does NOT compute exactly with every engine: do not trust its streams, and "
            "report this table."
        )
        raise typer.Exit(1)
    also = " and as where the model was packed" if expected else ""
    print(f"\nAll engines agree, bit for bit{also}: streams decode here as everywhere.")


def _torch_backends() -> list[str]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return []
    import torch

    return ["torch-cpu", *(["torch-cuda"] if torch.cuda.is_available() else [])]


def _backend(name: str, folder: Path, threads: int) -> Backend:
    if name.startswith("torch-"):
        from bifocal.learn.nets.entropy.exact import TorchBackend

        return TorchBackend(name.removeprefix("torch-"))
    from bifocal.runtime.doctor import named_backend

    return named_backend(name, folder, threads)
