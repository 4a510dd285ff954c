"""What a training leaves in its folder: checkpoint, curve, validations and the record of the run."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bifocal.learn.checkpoint import Weights, write_parts
from bifocal.learn.training.schedule import Progress


class RunFolder:
    """``checkpoint.safetensors``, ``run.json``, ``curve.csv`` and ``validation.jsonl`` of one run.

    :param header: what the checkpoint says of the network.
    :param history: the records of the runs before, oldest first.
    :param facts: what the record says beside the length of the run: recipe, pictures, classes and so on; a
        task may add to it while the run goes on.

    The phases of a run share one folder; the steps and minutes of those that are over count in.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, str],
        *,
        history: tuple[dict[str, Any], ...] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.header, self.history = folder, dict(header), history
        self.facts: dict[str, Any] = dict(facts or {})
        self.over = Progress()  # the phases before this one, together

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to the curve."""
        path = self.folder / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def note(self, now: Progress, found: Mapping[str, Any]) -> None:
        """Add what a validation found."""
        with (self.folder / "validation.jsonl").open("a") as file:
            file.write(json.dumps({"seconds": round(now.seconds), "step": now.step, **found}) + "\n")

    def save(self, parts: Mapping[str, Weights], now: Progress, *, device: str, examples: int) -> None:
        """Write checkpoint and record; ``examples`` are pictures a step."""
        record = self._record(self.total(now), device, examples)
        header = self.header | {"history": json.dumps([*self.history, record])}
        write_parts(self.checkpoint, header, parts)
        (self.folder / "run.json").write_text(json.dumps(record, indent=1) + "\n")

    def total(self, now: Progress) -> Progress:
        """The phases that are over and this one, together."""
        over = self.over
        return Progress(
            over.step + now.step,
            over.seconds + now.seconds,
            over.cpu_seconds + now.cpu_seconds,
            now.done,
            over.skipped + now.skipped,
            now.figures,
        )

    def _record(self, total: Progress, device: str, examples: int) -> dict[str, Any]:
        loss = total.figures.get("loss")
        return {
            **self.facts,
            "minutes": round(total.seconds / 60, 2),
            "cpu_minutes": round(total.cpu_seconds / 60, 2),
            "steps": total.step,
            "skipped": total.skipped,
            "crops": total.step * examples,
            "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine() + " CPU",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "loss": None if loss is None else round(loss, 5),
        }
