"""Ray itself, as a cluster of two workers on this machine; skipped where it is not installed.

Starting it takes longer than most tests, so one is started for all. RAY_TESTS=1 asks for them.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bifocal
from bifocal.apps import batch
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.errors import BatchError, OptionError
from tests.conftest import made_picture

pytestmark = [
    pytest.mark.skipif("RAY_TESTS" not in os.environ, reason="RAY_TESTS=1 starts a Ray cluster"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
PICTURES = 6


@dataclass(frozen=True)
class Fragile(Worker):
    """A worker whose process is killed at the first file that it gets of each name with ``kill`` in it, and
    at every one with ``always``."""

    marks: str = ""

    def do(self, task: FileTask) -> FileResult:
        mark = Path(self.marks, task.pair.name)
        if "always" in task.pair.name or ("kill" in task.pair.name and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(task)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    root = str(Path(__file__).parents[3])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "photos"
    for seed in range(PICTURES):
        path = folder / f"{seed % 2}" / f"{seed}{'-kill' * (seed == 3)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), path)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.bfc"))}


@pytest.fixture(scope="module")
def expected(photos: Path, tiny_folder: Path) -> dict[str, bytes]:
    batch.run(batch.Worker("encode", model=str(tiny_folder)), [photos], photos.parent / "local")
    return files_of(photos.parent / "local")


def test_a_killed_worker_loses_nothing_and_bytes_are_those_of_the_local_engine(
    ray: Any, photos: Path, expected: dict[str, bytes], tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "marks" / "1").mkdir(parents=True)
    worker = Fragile("encode", model=str(tiny_folder), threads=1, marks=str(tmp_path / "marks"))
    done = batch.run(worker, [photos], tmp_path / "out", jobs=2, engine="ray")
    assert (tmp_path / "marks" / "1" / "3-kill.png").exists()
    assert done.done == PICTURES and [one.pair.name for one in done.failed] == ["broken.png"]
    assert files_of(tmp_path / "out") == expected and len(expected) == PICTURES
    again = batch.run(worker, [photos], tmp_path / "out", jobs=2, engine="ray", resume=True)
    assert (again.done, again.kept, len(again.failed)) == (0, PICTURES, 1)


def test_a_file_that_always_kills_its_worker_fails_alone(
    ray: Any, photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "always.png", "b.png"):
        shutil.copy(photos / "0" / "0.png", tmp_path / "in" / name)
    worker = Fragile("encode", model=str(tiny_folder), threads=1, marks=str(tmp_path))
    done = batch.run(worker, [tmp_path / "in"], tmp_path / "out", jobs=2, engine="ray")
    assert done.done == 2 and "died 3 times" in done.failed[0].error


def test_ray_data_maps_bytes_through_actors(
    ray: Any, photos: Path, expected: dict[str, bytes], tiny_folder: Path, tmp_path: Path
) -> None:
    import ray.data

    names = sorted(path for path in photos.rglob("*.png"))
    rows = [{"id": str(path.relative_to(photos)), "bytes": path.read_bytes()} for path in names]
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=2)
    dataset = (
        ray.data.from_items(rows, override_num_blocks=4)
        .map_batches(
            batch.ray.Encode,
            fn_constructor_kwargs={"model": str(tiny_folder)},
            batch_size=2,
            compute=pool,
            num_cpus=1,
        )
        .map_batches(batch.ray.Write, fn_constructor_args=(str(tmp_path),), compute=pool, num_cpus=0.5)
    )
    made = {row["id"]: row for row in dataset.take_all()}
    assert set(made) == {row["id"] for row in rows} and "no picture" in made["broken.png"]["error"]
    for name, stream in expected.items():
        row = made[str(Path(name).with_suffix(".png"))]
        assert row["error"] == "" and row["written"] and (tmp_path / row["name"]).read_bytes() == stream
    assert not (tmp_path / made["broken.png"]["name"]).exists()
    left = batch.ray.Unfinished(str(tmp_path))({"id": np.array(sorted(made), object)})
    assert list(left["id"]) == ["broken.png"]


def test_a_cluster_that_is_not_there_is_a_clear_error(
    photos: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    worker = batch.Worker("encode", model=str(tiny_folder))
    with pytest.raises(BatchError, match="Ray cluster at 127.0.0.1:1 cannot be used"):
        batch.run(worker, [photos], tmp_path / "out", engine="ray", address="127.0.0.1:1")
    assert not files_of(tmp_path / "out")


def test_an_unknown_engine_is_refused(photos: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no engine 'spark'"):
        batch.run(batch.Worker("encode", model=str(tiny_folder)), [photos], tmp_path / "o", engine="spark")
