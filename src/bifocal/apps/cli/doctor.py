"""``bifocal doctor``: does this machine decode exactly?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bifocal.apps.cli import options

if TYPE_CHECKING:
    from bifocal.stream.exact import ExactEngine


def doctor(
    model: options.Model = None,
    check: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Check that every engine on this machine decodes to the same integers."""
    from bifocal.runtime.doctor import expected, versions
    from bifocal.runtime.model import DEFAULT_MODEL, model_folder

    folder = model_folder(DEFAULT_MODEL if model is None else model)
    if check:
        print(_examined(check, folder))
        return
    for line in versions():
        print(line)
    exact = _check_exact(folder)
    _check_pixels(folder)
    if not exact:
        print(
            "\nThis machine does NOT compute exactly with every engine: do not trust its streams, and "
            "report this table."
        )
        raise typer.Exit(1)
    also = " and as where the model was packed" if expected(folder) else ""
    print(f"\nAll engines agree, bit for bit{also}: streams decode here as everywhere.")


def _examined(check: str, folder: Path) -> str:
    """The result of one check, in the process that was started for it."""
    import json
    from dataclasses import asdict

    from bifocal.runtime.doctor import EngineCheck, examine
    from bifocal.stream.entropy_model import EntropyModel

    task = EngineCheck(**json.loads(check))
    engine = _engine(task.engine, folder, task.threads)
    return json.dumps(asdict(examine(task, EntropyModel.load(folder), engine)))


def _check_exact(folder: Path) -> bool:
    """Print what each engine computes where it must be exact; whether all agree."""
    from bifocal.runtime.doctor import agree, expected, plan_checks, run_check
    from bifocal.runtime.engines.exact_int8 import Int8Engine
    from bifocal.runtime.model import Model

    results = {}
    int8 = isinstance(Model.load(folder).engine, Int8Engine)
    print(f"\n{'engine':<16} {'threads':>7} {'kernels':<9} {'exact layers run':>16}  streams and latents")
    for item in plan_checks(_torch_backends(), int8=int8):
        found = results[item] = run_check(item, folder)
        result = found.error or f"{found.small[:12]} {found.large[:12]}"
        print(
            f"{item.engine:<16} {item.threads:>7} {item.core or 'own':<9} {found.layers:>16}  {result}",
            flush=True,
        )
    return agree(results, expected(folder))


def _check_pixels(folder: Path) -> None:
    """Print how far the pixels of each backend are from the reference's."""
    from bifocal.runtime.doctor import compare_backends
    from bifocal.runtime.engines.onnxruntime import REFERENCE
    from bifocal.runtime.model import Model

    print("\npixels, where only they depend on it (--backend): levels of 255 from the reference")
    for report in compare_backends(Model.load(folder)):
        off = report.error or f"mean {report.mean:.3f}, at most {report.largest}"
        default = " (default)" if report.backend == REFERENCE else ""
        print(f"{report.backend + default:<26} {report.precision:<64} {off}")


def _torch_backends() -> list[str]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return []
    import torch

    return ["torch-cpu", *(["torch-cuda"] if torch.cuda.is_available() else [])]


def _engine(name: str, folder: Path, threads: int) -> ExactEngine:
    if name.startswith("torch-"):
        from bifocal.learn.nets.entropy.exact import TorchEngine

        return TorchEngine(name.removeprefix("torch-"))
    from bifocal.runtime.doctor import named_engine

    return named_engine(name, folder, threads)
