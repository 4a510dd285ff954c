"""A caption in a stream: golden, read by the package and by the decoder of SPEC.md alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bifocal.stream import container
from bifocal.stream.chunks.caption import read_caption
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import unpack
from bifocal.types import Caption
from tests.conformance import spec_caption
from tests.conformance import spec_decoder as spec
from tests.conformance.make_golden import caption_stream, points_model

GOLDEN = Path(__file__).parent / "captioned" / "deflated-64x64.bfc"


def test_the_golden_stream_is_made_again_byte_for_byte() -> None:
    assert caption_stream() == GOLDEN.read_bytes()


def test_both_decoders_read_the_caption_and_the_latents_beside_it() -> None:
    data, folder = GOLDEN.read_bytes(), GOLDEN.parents[1] / "golden" / "tiny-4" / "model"
    files = (folder / name for name in ("model.json", "weights.safetensors"))
    parsed, latents = spec.parse(data), unpack(data, points_model(), NumpyEngine("int64"))
    text, language = spec_caption.read_caption(parsed)
    assert language == "de" and text.endswith("茶杯") and parsed.metadata["capt"][0] == 1
    assert read_caption(container.read(data).metadata) == Caption(text, language)
    z, y = spec.decode(data, spec.load_model(*(path.read_bytes() for path in files)))
    np.testing.assert_array_equal(latents.z, z)
    np.testing.assert_array_equal(latents.y, y)
