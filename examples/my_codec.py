"""Another codec in one file: channel groups of growing size, each coded in the two halves of a checkerboard.

The idea is ELIC's (arXiv 2203.10886): the first channels carry most of what matters and are coded in small
groups, the many later ones together; inside a group, half of the positions see the other half. The transforms
are those of Minnen et al. (arXiv 1809.02736): strided 5×5 convolutions and GDN. Sizes are ours, and so is
everything between, which every codec here has in common: gains by quality, the hyper-latent, integer entropy
networks, the stream.

    python examples/my_codec.py photo.jpg --data PICTURES --steps 2500      train, pack, code the photo
    python examples/my_codec.py                                             twenty steps on made-up pictures

    pixels [b,3,H,W] ── 4 × (5×5 ↓2, GDN) ─► y [b,latent,H/16,·] ── 4 × (5×5, ↑2, inverse GDN) ─► pixels
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

import bifocal
from bifocal.learn import (
    Budget,
    Codec,
    Group,
    Plan,
    Recipe,
    codec_job,
    fit,
    load_checkpoint,
    pack,
    register,
    table_pictures,
)
from bifocal.learn.nets.codec import PIXEL_UNIT
from bifocal.learn.nets.transforms.weconv import GDN

# -- the codec: what it is made of, what comes before the latents, what comes after them -------------------


@dataclass(frozen=True)
class MyConfig:
    """Sizes of the codec. ``latent`` is a multiple of 16."""

    width: int = 48
    latent: int = 64
    hyper: int = 32
    features: int = 48
    context: int = 64
    anchors: int = 6
    lambda_min: float = 0.0012
    lambda_max: float = 0.24

    @property
    def plan(self) -> Plan:
        ends = [0, *(self.latent * part // 16 for part in (1, 2, 4, 8, 16))]
        pairs = zip(ends, ends[1:], strict=False)
        groups = tuple(Group(start, stop, 2, step) for start, stop in pairs for step in (0, 1))
        return Plan(self.latent, self.hyper, groups, y_stride=16, skip=5)


class MyCodec(Codec):
    """The base class has the entropy path, training and packing; a codec writes two methods."""

    def __init__(self, config: MyConfig = MyConfig()) -> None:
        super().__init__(config)
        n = config.width
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for i in range(4):
            ends = (3 if i == 0 else n), (config.latent if i == 3 else n)
            down += [nn.Conv2d(*ends, 5, 2, 2), *([GDN(n)] if i < 3 else [])]
            ends = (config.latent if i == 0 else n), (3 if i == 3 else n)
            up += [nn.Conv2d(ends[0], 4 * ends[1], 5, 1, 2), nn.PixelShuffle(2)]
            up += [GDN(n, inverse=True)] if i < 3 else []
        self.analysis, self.synthesis = nn.Sequential(*down), nn.Sequential(*up)
        down[-1].weight.data *= 8  # type: ignore[operator]  # latents of a few steps from the first batch on

    def analyse(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, H, W]`` in 0..255, multiples of 64, to y ``[b, latent, H/16, W/16]``."""
        y: Tensor = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        return y

    def synthesise(self, y: Tensor) -> Tensor:
        """y to pixels ``[b, 3, H, W]``, unclipped."""
        pixels: Tensor = self.synthesis(y) * PIXEL_UNIT + 127.5
        return pixels


register("my-codec", MyConfig, MyCodec)

# -- from here on it is used like every other ----------------------------------------------------------------


def make_pictures(folder: Path, count: int = 8) -> Path:
    """Waves of colour, 192×144: enough to see that everything runs, nothing to judge a codec by."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:144, :192] / 20
    for number in range(count):
        a, b, c = np.random.default_rng(number).uniform(-2, 2, (3, 3))
        waves = [np.sin(rows * a[i] + columns * b[i] + c[i]) for i in range(3)]
        Image.fromarray((127 + 100 * np.stack(waves, 2)).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", help="what to code; a made-up picture by default")
    parser.add_argument("--data", type=Path, help="folder of training pictures; made-up ones by default")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/my-codec"))
    options = parser.parse_args(arguments)

    data = options.data or make_pictures(options.out / "pictures")
    recipe = Recipe(
        "my-codec",
        MyConfig(),
        exact=True,
        batch=8,
        validation=64 if options.data else 2,
        kernel_lr=0.0,
        warmup=min(100, options.steps // 4 + 1),
        cooldown=0.4,
    )
    job = codec_job(recipe, data, options.out)
    fit(job, Budget(steps=options.steps))
    checkpoint = load_checkpoint(job.checkpoint)
    model = options.out / "packed"
    pack(checkpoint, model, name="my-codec", version="0.0.0", pictures=table_pictures(checkpoint, data, 8))

    picture = options.picture or data / "0.png"
    stream, decoded = options.out / "picture.bfc", options.out / "picture.png"
    written = bifocal.encode_file(picture, stream, quality=50, model=model, overwrite=True)
    bifocal.decode_file(stream, decoded, model=model, overwrite=True)
    print(f"{picture}: {written.bytes} bytes, {written.bpp:.3f} bits a pixel; decoded: {decoded}")


if __name__ == "__main__":
    main()
