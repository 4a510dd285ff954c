"""Measure codecs on pictures: real files, one row for each picture and quality, means over pictures.

Rates and qualities are computed per picture and then averaged, as in the published tables. Nothing is
estimated: the rate is the length of the file, the distortion is that of the pixels decoded from it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bifocal.errors import PictureError
from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve
from bifocal.measure.metrics import SMALLEST_SIDE, Pixels, ms_ssim, ms_ssim_db, psnr, rgb
from bifocal.measure.peers import FileCodec, available_peers, bifocal_codec
from bifocal.pictures.reading import is_picture_file, read_picture
from bifocal.runtime.encoding import check_quality
from bifocal.runtime.engines.onnxruntime import REFERENCE
from bifocal.storage.filesystem import write_atomically

#: The speed of AVIF in :func:`bench`, so that a picture of 512×512 takes less than a minute in all.
QUICK_AVIF = 6


@dataclass(frozen=True)
class Measurement:
    """One codec at one quality on one picture. ``ms_ssim`` is NaN where the picture is too small for it."""

    codec: str
    settings: str
    picture: str
    fingerprint: str
    quality: int
    width: int
    height: int
    bytes: int
    psnr: float
    ms_ssim: float
    encode_seconds: float
    decode_seconds: float

    @property
    def bpp(self) -> float:
        return 8.0 * self.bytes / (self.width * self.height)


@dataclass(frozen=True)
class Mean:
    """One codec at one quality, averaged over pictures."""

    codec: str
    quality: int
    pictures: int
    bytes: float
    bpp: float
    psnr: float
    ms_ssim: float
    encode_seconds: float
    decode_seconds: float


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The picture files among ``paths``; folders are listed, sorted by name, not searched below.

    Raises MeasureError when a path does not exist or nothing is left to measure.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.is_file() and is_picture_file(p))
        elif path.is_file():
            found.append(path)
        else:
            raise MeasureError(f"There is no {path}. Name picture files, or folders that hold some.")
    if not found:
        raise MeasureError("No pictures found: the folders hold no files that are pictures. Name others.")
    return found


def load_rgb(path: Path) -> Pixels:
    """A picture file as uint8 ``[h, w, 3]``, upright: what every codec is given and compared with.

    Raises PictureError when the file is no picture, or one that Bifocal does not code.
    """
    return rgb(read_picture(path).pixels)


def fingerprint(pixels: Pixels) -> str:
    """Sixteen hexadecimal digits that name the pixels, so that results can be matched to pictures later."""
    digest = hashlib.sha256(np.array(pixels.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()[:16]


def measure(
    codec: FileCodec, pixels: Pixels, quality: int, *, picture: str = "", repeats: int = 1
) -> Measurement:
    """Encode, decode and compare one picture at one quality; of ``repeats`` the fastest times count.

    Raises MeasureError when what comes back has another shape.
    """
    encoding, decoding = math.inf, math.inf
    data, back = b"", pixels
    for _ in range(repeats):
        start = time.perf_counter()
        data = codec.encode(pixels, quality)
        middle = time.perf_counter()
        back = codec.decode(data)
        stop = time.perf_counter()
        encoding, decoding = min(encoding, middle - start), min(decoding, stop - middle)
    if back.shape != pixels.shape:
        raise MeasureError(
            f"{codec.name} gave {picture or 'the picture'} back as {back.shape}, not {pixels.shape}; "
            "its results cannot be compared. Report this."
        )
    h, w = pixels.shape[:2]
    return Measurement(
        codec=codec.name,
        settings=codec.settings,
        picture=picture,
        fingerprint=fingerprint(pixels),
        quality=quality,
        width=w,
        height=h,
        bytes=len(data),
        psnr=psnr(pixels, back),
        ms_ssim=ms_ssim(pixels, back) if min(h, w) >= SMALLEST_SIDE else math.nan,
        encode_seconds=encoding,
        decode_seconds=decoding,
    )


def bench(
    inputs: Iterable[Path],
    *,
    qualities: Sequence[int] = (),
    peers: Sequence[str] = ("jpeg", "webp", "avif"),
    model: str | None = None,
    backend: str = REFERENCE,
    notify: Callable[[str], None] = warnings.warn,
    skip: Callable[[PictureError], None] | None = None,
) -> Iterator[Measurement]:
    """What ``bifocal bench`` does: measure Bifocal and its peers on pictures, and give each row as it comes.

    ``qualities`` are Bifocal's; the peers keep the curves of their own, so that curves can be compared. AVIF
    is coded at its speed 6, some six times as fast as the 4 of our published figures, with larger files.
    ``notify`` gets a sentence for each peer that this environment cannot run, ``skip`` the error of each
    picture that cannot be read; without ``skip`` it is raised.

    Raises MeasureError, before anything is measured, when a path does not exist, there are no pictures, or a
    peer has an unknown name; OptionError when there is no such quality; ModelError when the model cannot be
    loaded.
    """
    for quality in qualities:
        check_quality(quality)
    paths = find_pictures(inputs)
    others, missing = available_peers(peers, avif_speed=QUICK_AVIF)
    for sentence in missing:
        notify(sentence)
    ours = bifocal_codec(model, backend)
    if qualities:
        ours = dataclasses.replace(ours, curve=tuple(qualities))
    return run_bench(paths, [ours, *others], skip=skip)


def run_bench(
    paths: Iterable[Path],
    codecs: Sequence[FileCodec],
    *,
    qualities: Sequence[int] | None = None,
    known: Iterable[Measurement] = (),
    skip: Callable[[PictureError], None] | None = None,
) -> Iterator[Measurement]:
    """Measure every codec on every picture: the rows, as they come, by pictures, codecs and qualities.

    ``qualities`` replaces each codec's own curve. ``known`` are rows of an earlier run: one is taken over
    instead of measured again where codec, settings, picture content and quality agree. ``skip`` is given the
    error of a picture that cannot be read, which is then left out; without it the error is raised.
    """
    kept = {(r.codec, r.settings, r.fingerprint, r.quality): r for r in known}
    for path in find_pictures(paths):
        try:
            pixels = load_rgb(path)
        except PictureError as error:
            if skip is None:
                raise
            skip(error)
            continue
        print_of = fingerprint(pixels)
        for codec in codecs:
            for quality in codec.curve if qualities is None else qualities:
                row = kept.get((codec.name, codec.settings, print_of, quality))
                yield row or measure(codec, pixels, quality, picture=path.name)


def summarise(rows: Iterable[Measurement]) -> list[Mean]:
    """Means over pictures, in the order in which codecs and qualities first appear."""
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.quality), []).append(row)
    return [
        Mean(
            codec,
            quality,
            len(group),
            *(
                float(np.mean([getattr(r, field) for r in group]))
                for field in ("bytes", "bpp", "psnr", "ms_ssim", "encode_seconds", "decode_seconds")
            ),
        )
        for (codec, quality), group in groups.items()
    ]


def curves(means: Iterable[Mean], *, metric: str = "psnr") -> dict[str, Curve]:
    """The rate-distortion curve of each codec, by name; codecs with fewer than three points are left out.

    With ``metric="ms_ssim"`` quality is MS-SSIM in dB instead of PSNR.
    """
    points: dict[str, list[Mean]] = {}
    for mean in means:
        points.setdefault(mean.codec, []).append(mean)
    return {
        name: Curve(name, tuple(m.bpp for m in ms), tuple(_decibels(m, metric) for m in ms))
        for name, ms in points.items()
        if len(ms) >= 3
    }


def _decibels(mean: Mean, metric: str) -> float:
    return ms_ssim_db(mean.ms_ssim) if metric == "ms_ssim" else mean.psnr


def write_json(path: Path, rows: Sequence[Measurement]) -> None:
    """The names of the columns, and every row as JSON, one row a line; NaN becomes null."""
    names = [field.name for field in dataclasses.fields(Measurement)]
    values = ([None if v != v else v for v in dataclasses.astuple(row)] for row in rows)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in values)
    write_atomically(path, f'{{"columns": {json.dumps(names)}, "rows": [\n{lines}\n]}}\n'.encode())


def read_json(path: Path) -> list[Measurement]:
    """The rows of a file of :func:`write_json`. Raises MeasureError when it is not one."""
    try:
        found: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8"))
        names = found["columns"]
        rows = ([math.nan if v is None else v for v in row] for row in found["rows"])
        return [Measurement(**dict(zip(names, row, strict=True))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise MeasureError(
            f"{path} does not hold bench rows ({fault}). Delete it and measure again."
        ) from fault


def write_csv(path: Path, rows: Sequence[Any]) -> None:
    """Write :func:`csv_bytes` to a file, which is replaced if it exists."""
    write_atomically(path, csv_bytes(rows))


def csv_bytes(rows: Sequence[Any]) -> bytes:
    """Dataclasses of one kind as CSV with a header, in UTF-8; measurements get a last column of bits per
    pixel."""
    kind = type(rows[0]) if rows else Measurement
    names = [f.name for f in dataclasses.fields(kind)]
    if kind is Measurement:
        names.append("bpp")
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([_cell(getattr(r, name)) for name in names] for r in rows)
    return file.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)
