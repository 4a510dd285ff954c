"""One more plane beside a picture: golden, read by the package and by the decoder of SPEC.md alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import DamagedStream
from bifocal.stream import container
from bifocal.stream.chunks.plane import plane_of
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import unpack
from tests.conformance import spec_decoder as spec
from tests.conformance.make_golden import Recipe, golden_stream, plane_stream, points_model

GOLDEN = Path(__file__).parent / "planes" / "infrared-130x70.bfc"


def test_the_golden_stream_is_made_again_byte_for_byte() -> None:
    assert plane_stream() == GOLDEN.read_bytes()


def test_both_decoders_give_the_latents_of_picture_and_plane() -> None:
    data, folder = GOLDEN.read_bytes(), GOLDEN.parents[1] / "golden" / "tiny-4" / "model"
    files = (folder / name for name in ("model.json", "weights.safetensors"))
    theirs = spec.load_model(*(path.read_bytes() for path in files))
    beside = container.read(data).metadata["plne"]
    assert spec.plane(spec.parse(data)) == beside
    for stream in (data, beside):
        latents = unpack(stream, points_model(), NumpyEngine("int64"))
        z, y = spec.decode(stream, theirs)
        np.testing.assert_array_equal(latents.z, z)
        np.testing.assert_array_equal(latents.y, y)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(130, 71, 64, 80, 2.0, gray=True),
        Recipe(130, 70, 64, 80, 2.0),
        Recipe(130, 70, 64, 80, 2.0, gray=True, metadata={"plne": b""}),
    ],
)
def test_a_plane_of_another_picture_is_refused(recipe: Recipe) -> None:
    beside, _ = golden_stream("plane", recipe, points_model())
    data, _ = golden_stream("x", Recipe(130, 70, 64, 40, 3.0, metadata={"plne": beside}), points_model())
    with pytest.raises(DamagedStream):
        plane_of(container.read(data))
    with pytest.raises(spec.Refused):
        spec.plane(spec.parse(data))
