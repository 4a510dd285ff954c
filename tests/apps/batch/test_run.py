"""Runs over folders: the same bytes however work is shared, and reruns that redo what they must, no more."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import bifocal
from bifocal.apps import batch
from bifocal.apps.batch import manifest as manifests
from bifocal.apps.batch.engines import local
from bifocal.errors import BatchError, ModelError, OptionError
from bifocal.runtime.engines import onnxruntime
from bifocal.storage.filesystem import part_prefix
from tests.conftest import made_picture

NAMES = ("a.png", "b.png", "sub/c.png", "sub/d.ppm", "sub/deep/e.png", "f.png")


@pytest.fixture
def work(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with six pictures in ``in`` and the tiny model in ``tiny``."""
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    for seed, name in enumerate(NAMES):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def encoder(**options: object) -> batch.Worker:
    return batch.Worker("encode", options, model="tiny")


def streams(folder: str) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.bfc")}


def encode(out: str = "out", *, resume: bool = True, **settings: object) -> tuple[int, int, int]:
    """How many files were done, kept and failed."""
    report = batch.run(encoder(quality=50), ["in"], out, resume=resume, **settings)  # type: ignore[arg-type]
    return report.done, report.kept, len(report.failed)


def test_the_same_bytes_for_any_jobs_shard_or_order(work: Path) -> None:
    batch.run(encoder(), ["in"], "one")
    expected = streams("one")
    assert len(expected) == 6
    batch.run(encoder(), ["in"], "two", jobs=2)
    assert streams("two") == expected
    for part in (3, 1, 2):
        batch.run(encoder(), ["in"], "shards", shard=(part, 3), jobs=1 + part % 2, resume=True)
    assert streams("shards") == expected
    files = [f"in/{name}" for name in reversed(NAMES)]
    report = batch.run(encoder(), files, "flat")
    assert {Path(name).name: data for name, data in expected.items()} == streams("flat")
    assert (report.done, report.kept, report.failed) == (6, 0, ())
    assert report.bytes_out == sum(map(len, expected.values())) and report.seconds > 0
    assert report.bytes_in == sum(os.path.getsize(file) for file in files)


def test_every_file_is_in_exactly_one_shard(work: Path) -> None:
    for parts in (2, 3, 7):
        done = [0] * parts
        for part in range(parts):
            done[part] = batch.run(encoder(), ["in"], f"s{parts}", shard=(part + 1, parts), resume=True).done
        assert sum(done) == 6 and set(streams(f"s{parts}")) == set(streams("s2"))
    assert batch.run(encoder(), ["in"], "s7", resume=True).kept == 6  # what shards did counts for all


def test_a_finished_run_is_kept(work: Path) -> None:
    assert encode(resume=False) == (6, 0, 0)
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.bfc")}
    assert encode() == (0, 6, 0)
    assert encode(jobs=2) == (0, 6, 0)
    shutil.move("in", "elsewhere")  # names count, not where the folder stands
    assert batch.run(encoder(quality=50), ["elsewhere"], "out", resume=True).kept == 6
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.bfc")} == before


def test_what_changed_is_done_again_and_nothing_else(work: Path) -> None:
    encode(resume=False)
    expected = streams("out")
    before = os.stat("in/a.png")
    data = bytearray(Path("in/sub/d.ppm").read_bytes())
    data[-1] ^= 1  # as many bytes, at the same time of change
    times = os.stat("in/sub/d.ppm")
    Path("in/sub/d.ppm").write_bytes(data)
    os.utime("in/sub/d.ppm", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert encode() == (1, 5, 0)
    os.utime("in/a.png", ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))  # the time alone is no change
    assert encode() == (0, 6, 0)
    Path("out/b.bfc").unlink()
    assert encode() == (1, 5, 0)
    damaged = bytearray(Path("out/sub/deep/e.bfc").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    Path("out/sub/deep/e.bfc").write_bytes(damaged)
    Path("out/f.bfc").write_bytes(b"")
    assert encode() == (2, 4, 0)
    del expected["sub/d.bfc"]
    assert expected.items() <= streams("out").items()


def test_other_options_or_another_model_do_all_again(work: Path) -> None:
    encode(resume=False)
    assert batch.run(encoder(quality=51), ["in"], "out", resume=True).done == 6
    assert encode() == (6, 0, 0)
    spec = json.loads(Path("tiny/model.json").read_text())
    spec["card"]["parameters"] += 1
    Path("tiny/model.json").write_text(json.dumps(spec))
    assert encode() == (6, 0, 0)
    assert encode() == (0, 6, 0)


def test_a_file_among_the_options_counts_by_its_content(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    keys = []
    for content in (b"one", b"two", b"one"):
        mask.write_bytes(content)
        keys.append(batch.Worker("encode", {"quality_map": mask, "box": (1, 2)}).about()["key"])
    assert keys[0] == keys[2] != keys[1]
    with pytest.raises(OptionError, match="cannot take"):
        batch.Worker("encode", {"quality_map": object()}).about()


def test_new_files_are_added_and_failed_ones_tried_again(work: Path) -> None:
    Path("in/z.png").write_bytes(b"no picture")
    assert encode(resume=False) == (6, 0, 1)
    assert encode() == (0, 6, 1)
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), "in/z.png")
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), "in/new.png")
    assert encode() == (2, 6, 0)


def test_a_result_that_no_run_made_is_not_replaced_unasked(work: Path) -> None:
    Path("out").mkdir()
    Path("out/a.bfc").write_bytes(b"somebody's")
    with pytest.raises(OptionError, match=r"exists already.*--resume"):
        encode(resume=False)
    report = batch.run(encoder(quality=50), ["in"], "out", resume=True)
    assert report.done == 5 and "not of this run" in report.failed[0].error
    assert encode() == (0, 5, 1)  # and having been refused does not make it ours
    assert Path("out/a.bfc").read_bytes() == b"somebody's"
    assert encode(replace=True) == (1, 5, 0)
    assert encode() == (0, 6, 0)


def test_a_result_whose_line_was_lost_is_ours_and_made_again(work: Path) -> None:
    """Killed between the renaming of a result and its line: what was begun is ours."""
    encode(resume=False)
    expected = streams("out")
    lines = Path("out/bifocal-encode.jsonl").read_bytes().splitlines(keepends=True)
    finished = [number for number, line in enumerate(lines) if b'"result"' in line]
    assert len(finished) == 6
    lines[finished[-1]] = lines[finished[-1]][:30]  # the last line, torn
    Path("out/bifocal-encode.jsonl").write_bytes(b"".join(lines))
    assert encode() == (1, 5, 0)
    assert encode() == (0, 6, 0)
    assert streams("out") == expected


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[]\n", b'{"name":5}\n', b'{"begun":["a"]}\n', b"5\n", b"\n"]
)
def test_lines_that_mean_nothing_are_passed_over(work: Path, junk: bytes) -> None:
    encode(resume=False)
    path = Path("out/bifocal-encode.jsonl")
    path.write_bytes(junk + path.read_bytes() + junk)
    assert encode() == (0, 6, 0)


def test_a_manifest_that_lies_is_found_out(work: Path) -> None:
    encode(resume=False)
    path = Path("out/bifocal-encode.jsonl")
    lines = path.read_text().replace('"name":"sub/c.png"', '"name":"b.png"')
    path.write_text(lines.replace(manifests.stamp("out/f.bfc"), "0 bytes, sha256 0"))
    assert encode() == (3, 3, 0)
    fresh = batch.run(encoder(quality=50), ["in"], "fresh")
    assert fresh.done == 6 and streams("fresh") == streams("out")


def test_halves_of_ours_are_removed_and_those_of_others_stay(work: Path) -> None:
    Path("out/sub").mkdir(parents=True)
    ours = [Path("out", f"{part_prefix('a.bfc')}x1.part"), Path("out/sub", f"{part_prefix('c.bfc')}x2.part")]
    others = [
        Path("out", f"{part_prefix('q.bfc')}x3.part"),
        Path("out/notes.part"),
        Path("out/sub/.c.bfc.part"),
    ]
    for path in (*ours, *others):
        path.touch()
    encode()
    assert not any(path.exists() for path in ours) and all(path.exists() for path in others)


def test_two_runs_on_one_manifest_are_refused_and_shards_are_not(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "LOCK_WAIT", 0.1)
    with manifests.Manifest("out", "encode", (1, 1), {}):
        with pytest.raises(BatchError, match=r"another run is working.*--shard"):
            encode()
        assert batch.run(encoder(), ["in"], "out", shard=(1, 2), resume=True).done > 0
    assert encode()[2] == 0


def test_decode_resumes_too(work: Path) -> None:
    encode(resume=False)
    decoder = batch.Worker("decode", model="tiny")
    assert batch.run(decoder, ["out"], "back").done == 6
    assert batch.run(decoder, ["out"], "back", resume=True, jobs=2).kept == 6
    assert sorted(path.suffix for path in Path("back").rglob("*.p*")) == [".png"] * 6
    assert batch.run(decoder, ["out"], "back", resume=True, suffix=".webp").done == 6
    assert bifocal.read_picture("back/sub/c.png").width == 60
    gone = batch.Worker("decode")  # the tiny model is not installed
    report = batch.run(gone, ["out"], "none")
    assert len(report.failed) == 6 and "not installed" in report.failed[0].error


def test_what_contradicts_itself_is_refused_before_work(work: Path) -> None:
    for settings, says in (
        ({"jobs": 0}, "0 jobs"),
        ({"shard": (0, 2)}, "no shard 0/2"),
        ({"shard": (3, 2)}, "no shard 3/2"),
    ):
        with pytest.raises(OptionError, match=says):
            encode(**settings)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--out"):
        batch.run(encoder(), ["in"], resume=True)
    with pytest.raises(OptionError, match="--out"):
        batch.run(encoder(), ["in/a.png"], "a.bfc", resume=True)
    with pytest.raises(ModelError, match="no model"):
        batch.run(batch.Worker("encode", model="nothing"), ["in"], "out")
    with pytest.raises(OptionError, match="choose|Choose"):
        batch.Worker("transcode")  # type: ignore[arg-type]
    assert not Path("out").exists()


def test_one_file_leaves_no_manifest(work: Path) -> None:
    Path("out").mkdir()
    assert batch.run(encoder(), ["in/a.png"], "out").done == 1
    assert [path.name for path in Path("out").iterdir()] == ["a.bfc"]


def test_threads_are_shared_out(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs times threads never exceed the processors, unless more jobs were asked for than there are."""
    seen = []

    def look(worker: batch.Worker, *_: object, **__: object) -> Iterator[batch.FileResult]:
        seen.append(worker.threads)
        return iter(())

    monkeypatch.setattr(onnxruntime, "available_threads", lambda: 8)
    monkeypatch.setattr(local, "run_local", look)
    for jobs in (2, 3, 8, 9):
        batch.run(encoder(), ["in"], f"out{jobs}", jobs=jobs)
    assert seen == [4, 2, 1, 1]
