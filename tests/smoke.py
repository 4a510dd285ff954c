"""What works with the default install alone: `make test-oldest` and `make test-newest` run this, and no more.

Nothing here needs torch, onnx or a fixture of the other tests; pytest takes it with ``--noconftest``.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import unpack

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "coffee.png"
GOLDEN = ROOT / "tests" / "conformance" / "golden"


@pytest.fixture(scope="module")
def stream() -> bytes:
    return bifocal.encode(bifocal.read_picture(PHOTO), 60)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def command(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bifocal", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_photograph_is_encoded_and_decoded(stream: bytes) -> None:
    photo = bifocal.read_picture(PHOTO)
    assert psnr(photo.pixels, bifocal.decode(stream).pixels) > 32
    assert bifocal.info(stream).bpp < 2
    part = bifocal.decode(stream, box=(100, 50, 200, 150))
    assert np.array_equal(part.pixels, bifocal.decode(stream).pixels[50:150, 100:200])
    small = bifocal.decode(stream, scale="1/4").pixels
    assert small.shape[0] == -(-photo.height // 4)


def test_more_effort_and_a_budget(stream: bytes) -> None:
    pixels = bifocal.decode(stream, box=(0, 0, 192, 128)).pixels
    quick, slow = (bifocal.encode(pixels, 40, effort=effort) for effort in (0, 2))
    assert len(slow) < 1.1 * len(quick)
    assert len(bifocal.encode(pixels, size="3kB")) <= 3000


def test_transparency_gray_and_metadata_come_back() -> None:
    alpha = np.arange(64 * 80, dtype=np.uint8).reshape(64, 80)
    picture = bifocal.Picture(np.full((64, 80), 90, np.uint8), {"icc": b"profile"}, alpha)
    back = bifocal.decode(bifocal.encode(picture))
    assert back.gray and back.metadata == {"icc": b"profile"} and back.alpha is not None
    assert np.array_equal(back.alpha, alpha)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.bfc")), ids=lambda path: path.stem)
def test_golden_streams_decode_to_the_latents_that_were_encoded(path: Path) -> None:
    model = EntropyModel.load(path.parent / "model")
    assert unpack(path.read_bytes(), model, NumpyEngine()).width > 0  # its checksums hold


def test_labels_are_read(stream: bytes) -> None:
    labels = bifocal.analyse(stream)
    assert len(labels.names) == 10 and abs(float(labels.probabilities.sum()) - 1) < 1e-5


def test_pillow_opens_and_saves_streams(stream: bytes) -> None:
    bifocal.register_pillow()
    image = Image.open(io.BytesIO(stream))
    assert image.format == "BIFOCAL"
    buffer = io.BytesIO()
    image.resize((64, 48)).save(buffer, "BIFOCAL", quality=50)
    assert bifocal.decode(buffer.getvalue()).width == 64


def test_the_command_line(tmp_path: Path, stream: bytes) -> None:
    assert command("--version", folder=tmp_path) == f"bifocal {bifocal.__version__}\n"
    with Image.open(PHOTO) as photo:
        photo.crop((0, 0, 120, 90)).save(tmp_path / "a.png")
    command("encode", "a.png", "--quality", "40", folder=tmp_path)
    command("decode", "a.bfc", "--out", "b.webp", folder=tmp_path)
    assert bifocal.read_picture(tmp_path / "b.webp").pixels.shape == (90, 120, 3)
    assert "quality 40" in command("info", "a.bfc", folder=tmp_path)
    assert DEFAULT_MODEL in command("models", folder=tmp_path)
    assert command("classify", "a.bfc", folder=tmp_path)


def test_what_an_extra_brings_is_said_where_it_is_missing(stream: bytes) -> None:
    with pytest.raises(bifocal.OptionError, match=r"bifocal-codec\[remote\]|cannot be opened|s3fs"):
        bifocal.decode_file("s3://bucket/a.bfc")
    with pytest.raises(bifocal.BifocalError):
        bifocal.decode(stream, backend="no-such-engine")
