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
    check: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Check that every engine on this machine decodes to the same integers."""
    import json
    from dataclasses import asdict

    from bifocal.runtime import doctor as checks
    from bifocal.runtime.engines.onnxruntime import REFERENCE
    from bifocal.runtime.model import Model, model_folder
    from bifocal.stream.entropy_model import EntropyModel

    folder = model_folder(model)
    if check:
        task = checks.EngineCheck(**json.loads(check))
        found = checks.examine(task, EntropyModel.load(folder), _backend(task.backend, folder, task.threads))
        print(json.dumps(asdict(found)))
        return
    for line in checks.versions():
        print(line)
    results = {}
    print(f"\n{'engine':<15} {'threads':>7} {'kernels':<9} {'exact layers run':>16}  streams and latents")
    for item in checks.plan_checks(_torch_backends()):
        found = results[item] = checks.run_check(item, folder)
        result = found.error or f"{found.small[:12]} {found.large[:12]}"
        print(
            f"{item.backend:<15} {item.threads:>7} {item.core or 'own':<9} {found.layers:>16}  {result}",
            flush=True,
        )
    print("\npixels, where only they depend on it (--backend): levels of 255 from the reference")
    for report in checks.float_backends(Model.load(folder)):
        off = report.error or f"mean {report.mean:.3f}, at most {report.largest}"
        default = " (default)" if report.backend == REFERENCE else ""
        print(f"{report.backend + default:<26} {report.precision:<64} {off}")
    expected = checks.expected(folder)
    if not checks.agree(results, expected):
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
