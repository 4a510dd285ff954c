"""A folder of awkward and broken pictures: each is coded properly or refused, in bounded time and memory.

    python -m benchmarks.nasty --data DIR [--docs]

Each file is encoded in a process of its own (forked from one in which everything is imported: Linux only). It
is killed after ``--seconds``, or as many times that as the picture has 4 Mi pixels, and cannot take more than
``--memory`` MiB of data. Time and memory are those of ``encode_file``, which opens the model, too. What was
accepted is decoded and compared with what Pillow alone makes of the file: the size, upright;
the pixels as read; the transparency; and that the decoded picture is nearer to the source than to the source
turned, mirrored or with its colours swapped. The exit status is 1 if any file broke a rule.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import BifocalError, PictureWarning
from bifocal.measure.metrics import psnr
from bifocal.measure.tables import markdown
from bifocal.pictures.formats import MAX_PIXELS
from bifocal.pictures.reading import read_picture

#: A pattern in the message of a refusal, and the heading under which it is listed.
REASONS = {
    "CMYK": "CMYK: the message holds the command that converts it",
    "frames": "animation or several pages: one frame must be taken out first",
    "above the limit|more pixels than": "more pixels than are opened (a decompression bomb, or damaged)",
    "separate planes": "16 bits in separate planes, of which Pillow gives the upper half only",
    "pixels of mode": "a colour space that is not coded (CIE Lab)",
    "checksum of its": "damaged: a checksum of PNG differs, which Pillow alone does not check",
    "no picture that can be read": "no picture, not one of the formats read, or damaged in its header",
    "is truncated|ends inside|Truncated File": "cut short",
    "": "damaged: Pillow's decoder stops",
}
ROUNDED = "rounded to 8 bits with a warning"


def main() -> int:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of awkward pictures")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--step", type=int, default=1, help="take every n-th file only: a quick look")
    parser.add_argument("--quality", type=int, default=95)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument(
        "--cpu", action="store_true", help="count processor time: for a machine with other work"
    )
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    options = parser.parse_args()
    Image.init()
    for network in ("onnxruntime", "bifocal.runtime.model"):
        import_module(network)  # before the processes part, so that none of them pays for it
    options.work = Path(mkdtemp(prefix="nasty-"))
    files = sorted(
        path for path in options.data.rglob("*") if path.is_file() and path != options.data / "index.tsv"
    )
    files, rows = files[:: options.step], []
    for number, path in enumerate(files):
        row = {"file": path.relative_to(options.data).as_posix(), **_in_child(path, options)}
        rows.append(row)
        print(f"{number + 1}/{len(files)} {row['file']}: {row['result']}", file=sys.stderr)
    broken = [row for row in rows if _broken(row, options)]
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "quality": options.quality,
        "limits": {"seconds": options.seconds, "cpu": options.cpu, "MiB": options.memory},
        "broken": [row["file"] for row in broken],
        "rows": rows,
    }
    rmtree(options.work)
    reporting.publish(options, "nasty", _summary(rows, record), record, file="nasty")
    reporting.write_text(options.out / "nasty.md", _page(rows, record))
    for row in broken:
        print(f"BROKEN {row}", file=sys.stderr)
    return int(bool(broken))


def _in_child(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One file in a process of its own, which answers through a pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            _work(path, options, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        lines = [json.loads(line) for line in pipe]
    _, status = os.waitpid(child, 0)
    row = {key: value for line in lines for key, value in line.items()}
    if "result" not in row:
        stopped = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
        row["result"] = (
            "killed for time" if stopped in (signal.SIGALRM, signal.SIGPROF) else f"died of {stopped}"
        )
    return row


def _work(path: Path, options: argparse.Namespace, pipe: Any) -> None:
    limit = options.memory << 20
    before_limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before_limit[1]))
    timer, end = (signal.ITIMER_PROF, signal.SIGPROF) if options.cpu else (signal.ITIMER_REAL, signal.SIGALRM)
    signal.signal(end, signal.SIG_DFL)  # ends the process, whatever library is running
    allowed = options.seconds * _share(path)
    signal.setitimer(timer, allowed)
    target = options.work / "a.bfc"
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    row: dict[str, Any] = {}
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            about = bifocal.encode_file(path, target, options.quality, model=options.model)
        words = [str(word.message) for word in caught if word.category is PictureWarning]
        row = {"result": "accepted", "warnings": [word.replace(f"{path.parent}/", "") for word in words]}
        row |= {"width": about.width, "height": about.height, "bytes": about.bytes, "alpha": about.alpha}
        row["metadata"] = sorted(about.metadata)
    except BifocalError as error:
        row = {
            "result": "refused",
            "error": type(error).__name__,
            "why": str(error).replace(f"{path.parent}/", ""),
        }
    except BaseException as error:  # a crash is a result too
        row = {"result": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    after = resource.getrusage(resource.RUSAGE_SELF)
    signal.setitimer(timer, 0)
    row["seconds"] = round(time.perf_counter() - begun, 3)
    row["cpu_seconds"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)
    row |= {"MiB": after.ru_maxrss >> 10, "allowed": allowed}
    print(json.dumps(row), file=pipe, flush=True)
    resource.setrlimit(resource.RLIMIT_DATA, before_limit)  # comparing is not part of the promise
    if row["result"] == "accepted":
        print(json.dumps(_compare(path, target, options.model)), file=pipe, flush=True)
    target.unlink(missing_ok=True)


def _share(path: Path) -> float:
    """How many times the time limit a picture of this size may take: once for every 4 Mi pixels."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            pixels = image.width * image.height
    except Exception:  # a dozen kinds for files that are no pictures
        return 1
    return max(1, pixels / (1 << 22)) if pixels <= MAX_PIXELS else 1


def _compare(path: Path, stream: Path, model: str) -> dict[str, Any]:
    """How the decoded picture and the picture as we read it differ from what Pillow alone reads."""
    warnings.simplefilter("ignore")
    wanted, raw = _pillow(path)
    read, decoded = (
        _rgba(picture) for picture in (read_picture(path), bifocal.decode_file(stream, model=model))
    )
    if not wanted.shape == read.shape == decoded.shape:
        return {"same_size": False}
    seen = read[:, :, 3] > 0
    off = np.abs(read.astype(int) - wanted)
    return {
        "same_size": True,
        "mode": raw,
        "pixels_off": int(off[seen, :3].max(initial=0)),
        "alpha_off": int(off[:, :, 3].max()),
        "alpha_kept": bool(np.array_equal(read[:, :, 3], decoded[:, :, 3])),
        "itself": _is_itself(read, decoded, seen),
        "psnr": _psnr(read[seen, :3], decoded[seen, :3]),
    }


def _psnr(read: np.ndarray, decoded: np.ndarray) -> float | None:
    return round(min(psnr(read[None], decoded[None]), 99.0), 2) if len(read) else None


def _is_itself(read: np.ndarray, decoded: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the decoded picture is nearer to the source than to the source turned or recoloured."""

    def error(other: np.ndarray) -> float:
        return float(np.square(other[seen, :3].astype(float) - decoded[seen, :3]).sum())

    flat = read.swapaxes(0, 1)
    turned = [read[::-1], read[:, ::-1], read[::-1, ::-1], flat, flat[::-1], flat[:, ::-1], flat[::-1, ::-1]]
    others = [other for other in turned if other.shape == read.shape] + [read[:, :, [2, 1, 0, 3]]]
    return all(error(read) <= 1.1 * error(other) for other in others)  # a tenth for nearly symmetric ones


def _pillow(path: Path) -> tuple[np.ndarray, str]:
    """uint8 ``[h, w, 4]``, upright, made by Pillow alone, and the mode in which it was opened."""
    with Image.open(path) as image:
        mode = image.mode
        image.load()
        try:
            upright = ImageOps.exif_transpose(image)
        except Exception:  # damaged EXIF: a picture without orientation
            upright = image
        if mode.startswith("I"):
            values = np.asarray(upright).astype(np.int64)
            clear = image.info.get("transparency")
            alpha = np.full(values.shape, 255) if clear is None else np.where(values == clear, 0, 255)
            return np.dstack([np.rint(values / 257)] * 3 + [alpha]).astype(np.uint8), mode
        return np.asarray(upright.convert("RGBA")), mode


def _rgba(picture: Any) -> np.ndarray:
    pixels = np.dstack([picture.pixels] * 3) if picture.gray else picture.pixels
    alpha = np.full(pixels.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
    return np.dstack([pixels, alpha])


def _broken(row: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a file breaks the promise: coded properly or refused, in time and memory."""
    if row["result"] == "refused":
        return False
    if row["result"] != "accepted" or not row.get("same_size"):
        return True
    right = row["itself"] and row["alpha_kept"]
    return not right or _seconds(row, options.cpu) > row["allowed"] or row["MiB"] > options.memory


def _seconds(row: dict[str, Any], cpu: bool) -> float:
    return float(row.get("cpu_seconds" if cpu else "seconds", 0))


def _kind(row: dict[str, Any]) -> str:
    """The heading of a file in the page."""
    if row["result"] == "refused":
        return next(text for pattern, text in REASONS.items() if re.search(pattern, row["why"]))
    if row["result"] != "accepted":
        return str(row["result"])
    if row["warnings"]:
        rounded = any("rounded" in warning for warning in row["warnings"])
        return f"more than 8 bits a channel: {ROUNDED}" if rounded else "with a warning"
    if row["alpha"]:
        return "transparent: alpha coded without loss"
    return {"P": "palette, to RGB", "1": "black and white, to gray", "L": "gray"}.get(
        row.get("mode", ""), "RGB"
    )


def _groups(rows: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Result, kind and rows of every group of files, accepted ones first, then the largest."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["result"], _kind(row)), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1])))
    return [(result, kind, group) for (result, kind), group in ordered]


def _summary(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """How many files of each kind were coded or refused, with their worst time and memory."""
    accepted, refused = (
        [row for row in rows if row["result"] == result] for result in ("accepted", "refused")
    )
    limits = record["limits"]
    header = ["files", "number", "slowest, s" + " of processor" * limits["cpu"], "largest, MiB"]
    lines = [
        (f"{result}: {kind}", str(len(group)), *_worst(group, limits["cpu"]))
        for result, kind, group in _groups(rows)
    ]
    return "\n\n".join(
        [
            f"{len(rows)} files: {len(accepted)} coded, {len(refused)} refused, "
            f"{len(rows) - len(accepted) - len(refused)} otherwise. Limits for each: {limits['seconds']:g} s "
            f"{'of processor time ' * limits['cpu']}(times the size in 4 Mi pixels, for a larger picture "
            f"that is coded) and {limits['MiB']} MiB. Files that broke a rule: {len(record['broken'])}.",
            f"Machine: {record['machine']}. Quality {record['quality']}.",
            markdown(header, lines),
        ]
    )


def _page(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """The summary, how decoded pictures compare, and the name of every file."""
    accepted = [row for row in rows if row["result"] == "accepted"]
    others = [row for row in accepted if row.get("pixels_off", 0) > 1 or row.get("alpha_off", 0) > 1]
    levels = sorted(row["psnr"] for row in accepted if row.get("psnr") is not None)
    parts = [
        "# Awkward and broken pictures",
        "Made by `python -m benchmarks.nasty --data DIR`; its docstring says what is measured. The rules are "
        "in [pictures.md](../../docs/pictures.md).",
        _summary(rows, record),
        "Every coded file was decoded and compared with what Pillow alone reads: same size and orientation, "
        "the same transparency, and nearer to the source than to any turned, mirrored or recoloured copy. "
        f"PSNR of the decoded pictures, where visible: {levels[0]} to {levels[-1]} dB, median "
        f"{levels[len(levels) // 2]}; the shipped model is made for photographs, and test patterns, noise "
        "and pixel art come back blurred. Pixels as read are Pillow's, within 1 where 16 bits are rounded, "
        "which Pillow cuts. Where we read other values than Pillow:",
        "\n".join(
            f"* `{row['file']}`: colours by up to {row['pixels_off']}, alpha by up to {row['alpha_off']}"
            for row in others
        )
        or "nowhere.",
        "`tbbn0g04.png` has one transparent gray of 4 bits, which Pillow compares with 8-bit values and "
        "misses; `tiff_16bit_RGBa.tiff` has colours multiplied by alpha, which Pillow divides after cutting "
        "them to 8 bits.",
        "## Every file",
    ]
    for result, kind, group in _groups(rows):
        names = ", ".join(f"`{row['file']}`" for row in group)
        parts.append(f"**{result.capitalize()}: {kind}** ({len(group)})\n\n{names}")
    return "\n\n".join(parts) + "\n"


def _worst(group: list[dict[str, Any]], cpu: bool) -> tuple[str, str]:
    slowest, largest = max(_seconds(row, cpu) for row in group), max(row.get("MiB", 0) for row in group)
    return f"{slowest:.2f}", str(largest)


if __name__ == "__main__":
    reporting.run(main)
