"""Teaching a detector your objects: a data set, a processor and some minutes.

Everything that can go wrong is tried first: the data set is checked, every picture read, the untrained
network packed, loaded and asked, and the output written to. Only then the first step is made. The detector is
judged by the packed file that users get.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Weights, read_parts
from bifocal.learn.data.detection.dataset import DetectionSet
from bifocal.learn.data.detection.views import Batch, batches
from bifocal.learn.nets.heads.detector import UNIT, BoxesOf, Detector
from bifocal.learn.packing.detectors import pack_detector, parameters
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.detect.judging import LEAST_SCORE, Judged, judge_boxes, network_finder
from bifocal.learn.training.detect.recipe import DetectRecipe, fitted_anchors
from bifocal.learn.training.detect.report import write_report, write_sheet
from bifocal.learn.training.fit import fit
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Progress
from bifocal.learn.training.tasks.detect import detect_job
from bifocal.runtime.heads.boxes import Found
from bifocal.runtime.heads.detect import LEAST_SCORE as SHOWN_SCORE
from bifocal.runtime.heads.detect import Threshold, as_boxes, detect_pixels
from bifocal.runtime.heads.file import DETECTOR_SUFFIX
from bifocal.runtime.heads.run import Head
from bifocal.storage.filesystem import write_atomically

#: So many pictures are looked at by a validation on the way, and are on the sheet at the end.
WATCHED, SHOWN = 32, 4


@dataclass(frozen=True)
class TrainedDetector:
    """What was written, and how good it is; ``figures`` are those of ``report.json``."""

    path: Path
    report: Path
    judged: Judged
    warnings: tuple[str, ...]
    figures: Mapping[str, Any]


class DetectorRun:
    """One detector from its network to its trained average."""

    def __init__(
        self,
        recipe: DetectRecipe,
        train: DetectionSet,
        held: DetectionSet,
        out: Path,
        report: Path,
        device: str,
        log: Callable[[str], None],
    ) -> None:
        anchors = fitted_anchors(train, recipe.shrink)
        config = replace(recipe.config, classes=len(train.classes), anchors=anchors)
        self.recipe = recipe = replace(recipe, config=config)
        self.data, self.held, self.out, self.device, self.log = train, held, out, device, log
        says = {"classes": list(train.classes), "config": asdict(config), "shrink": recipe.shrink}
        self.header = {"detector": json.dumps(says)}
        self.folder = RunFolder(report, self.header, facts={"recipe": asdict(recipe)})
        self.watched = held.part(range(min(WATCHED, len(held))))
        self.curve: list[dict[str, float]] = []
        self.network = self.make_network()
        self.average: Average | None = None
        self.state: Weights | None = None

    def make_network(self) -> nn.Module:
        """The network, untrained."""
        return Detector(self.recipe.config)

    def feed(self, seed: int) -> Iterator[Batch]:
        """Endless batches of views."""
        recipe = self.recipe
        return batches(self.data, recipe.batch, recipe.side, seed, recipe.views)

    def find(self, network: nn.Module, data: DetectionSet) -> list[Found]:
        """The boxes in pictures by a network that is not packed yet."""
        recipe = self.recipe
        module = BoxesOf(network, recipe.config.anchors, recipe.shrink)
        finder = network_finder(module, UNIT * recipe.shrink)
        return [finder(data.pixels(k)) for k in range(len(data))]

    def find_packed(self, head: Head, data: DetectionSet) -> list[Found]:
        """The boxes in pictures by the packed file, as users get them."""
        return [detect_pixels(head, data.pixels(k), Threshold(LEAST_SCORE)) for k in range(len(data))]

    def prepare(self, resume: Path | None) -> None:
        """Take over what a checkpoint has, if there is one."""
        if resume is None:
            return
        header, parts = read_parts(resume, "weights", "average", "optimiser")
        if header.get("detector") != self.header["detector"]:
            raise TrainingError(
                f"{resume} is not the checkpoint of a detector with these classes and options. Give the same "
                "data and options as then, or leave --resume out."
            )
        mean = self.make_network()
        try:
            self.network.load_state_dict(parts["weights"])
            mean.load_state_dict(parts["average"])
        except RuntimeError as error:
            raise TrainingError(f"{resume} does not fit its own description. Use another one.") from error
        self.average, self.state = Average(mean, self.recipe.ema, updates=None), parts["optimiser"]
        self.folder.history = tuple(json.loads(header.get("history", "[]")))

    def rehearse(self) -> None:
        """Go through the last steps with the untrained network, so that they cannot fail at the end."""
        self.judge(self.pack(self.network), self.held.part([0]) if self.held.part([0]).objects else self.held)

    def pack(self, network: nn.Module) -> PackedHead:
        assert isinstance(network, Detector)
        names, shrink = self.data.classes, self.recipe.shrink
        return pack_detector(network, name=self.out.stem, classes=names, shrink=shrink)

    def train(self, budget: Budget) -> nn.Module:
        """The average of the trained network."""
        job = detect_job(
            self.recipe,
            self.network,
            self.feed(self.recipe.seed + 1000 * len(self.folder.history)),
            anchors=self.recipe.config.anchors,
            device=self.device,
            average=self.average,
            validate=self._validate,
            folder=self.folder,
            log=self.log,
        )
        job.state, self.state = self.state, None
        fit(job, budget)
        assert job.average is not None
        return job.average.model

    def _validate(self, network: nn.Module, now: Progress) -> Mapping[str, Any]:
        plain = self.make_network()
        plain.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
        judged = judge_boxes(self.watched, self.find(plain.eval(), self.watched))
        total = self.folder.total(now)
        self.curve.append({"step": total.step, "ap50": judged.ap50, "ap": judged.ap})
        spent = f"{total.seconds / 60:.1f} minutes ({total.cpu_seconds / 60:.1f} of processor time)"
        self.log(f"{spent}, step {total.step}: AP50 {judged.ap50:.1%}, AP {judged.ap:.1%}")
        return judged.figures()

    def judge(self, packed: PackedHead, data: DetectionSet, near: float = 0.0, draws: int = 0) -> Judged:
        """What the packed file says of pictures, as users get it."""
        self.head = opened(packed)
        self.found = self.find_packed(self.head, data)
        return judge_boxes(data, self.found, near=near, draws=draws, seed=self.recipe.seed)

    def write(
        self,
        network: nn.Module,
        near: float,
        draws: int,
        warnings: tuple[str, ...],
        card: Mapping[str, str],
    ) -> TrainedDetector:
        """Judge the packed detector, and write it, its card filled in, with the report."""
        packed = self.pack(network)
        judged = self.judge(packed, self.held, near, draws)
        figures = self._figures(network, judged, warnings)
        write_atomically(self.out, packed.data({**card, **figures}))
        write_report(self.folder.folder, self.curve, figures)
        shown = []
        for k in range(min(SHOWN, len(self.held))):
            picture, likely = self.held.pictures[k], self.found[k].scores >= SHOWN_SCORE
            found = self.found[k].rows(likely)
            shown.append((k, as_boxes(found, self.head, picture.width, picture.height)))
        write_sheet(self.folder.folder / "boxes.png", self.held, shown)
        self.log(
            f"the packed detector: AP50 {judged.ap50:.1%}, AP {judged.ap:.1%} on {len(self.held):,} pictures"
        )
        return TrainedDetector(self.out, self.folder.folder, judged, warnings, figures)

    def _figures(self, network: nn.Module, judged: Judged, warnings: tuple[str, ...]) -> dict[str, Any]:
        total, recipe = self.folder.over, self.recipe
        return {
            "average precision": judged.figures(),
            "pictures": {"train": len(self.data), "judged on": len(self.held)},
            "parameters": parameters(network),
            "minutes": round(total.seconds / 60, 2),
            "cpu_minutes": round(total.cpu_seconds / 60, 2),
            "steps": total.step,
            "recipe": asdict(recipe),
            "device": f"{platform.machine()} {self.device}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
            "warnings": list(warnings),
        }


def opened(packed: PackedHead) -> Head:
    """A packed head, read back as users read it: from a file, as untrusted."""
    with tempfile.TemporaryDirectory(prefix="bifocal-detector-") as folder:
        path = Path(folder, f"packed{DETECTOR_SUFFIX}")
        path.write_bytes(packed.data())
        return Head.load(path)
