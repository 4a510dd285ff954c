"""One codec in one process, for speed.py: codes a picture on request and answers with its times.

Started as ``PYTHON benchmarks/speed_worker.py CODEC PICTURE QUALITY [MODEL]``. CODEC is ``bifocal``,
``bifocal:BACKEND`` or a CompressAI model (``bmshj2018-hyperprior``, ``mbt2018-mean``), which then runs in an
environment of its own.
Each line on standard input is one encode and one decode, answered by one line of JSON with seconds, file
bytes and peak memory in MiB.

CompressAI's networks are untrained: they cost the same time, except for entropy coding, whose cost depends
on the symbols. So the last layers are set to give latents of realistic spread (see ``_spread``).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

CORES = 2
Coded = tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], int]]


def bifocal_pair(model: str, pixels: np.ndarray, quality: int, backend: str) -> Coded:
    """Encode, decode and size through the public face."""
    import bifocal

    loaded = bifocal.Model.load(model, backend=backend)

    def encode() -> bytes:
        return bifocal.encode(pixels, quality=quality, model=loaded)

    return encode, lambda data: bifocal.decode(data, model=loaded), len


def compressai_pair(name: str, pixels: np.ndarray, quality: int) -> Coded:
    """Compress, decompress and size of an untrained CompressAI model; needs CompressAI."""
    import torch

    # The compiled operators of torchvision do not load beside a CPU torch; CompressAI needs them declared
    # only.
    operators: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("nms", "qnms"):
        operators.define(operator + boxes)
    from compressai.zoo import image_models

    torch.manual_seed(0)
    torch.set_num_threads(CORES)
    net = image_models[name](quality=quality, metric="mse", pretrained=False).eval()
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    h, w = (-side % 64 for side in x.shape[2:])
    x = torch.nn.functional.pad(x, (0, w, 0, h), mode="replicate")
    with torch.inference_mode():
        _spread(net, x)
    net.update(force=True)

    def compress() -> dict[str, Any]:
        with torch.inference_mode():
            return dict(net.compress(x))

    def decompress(coded: dict[str, Any]) -> Any:
        with torch.inference_mode():
            return net.decompress(coded["strings"], coded["shape"])["x_hat"].clamp_(0, 1)

    def size(coded: dict[str, Any]) -> int:
        return sum(len(string) for strings in coded["strings"] for string in strings)

    return compress, decompress, size


def _spread(net: Any, x: Any) -> None:
    """Give the channels of the latent spreads from 0.02 to 1.5, which codes to about 0.5 bit per pixel, and
    make the hyper decoder predict just those."""
    import torch

    y = net.g_a(x)
    spread = torch.logspace(np.log10(0.02), np.log10(1.5), y.shape[1])
    last = net.g_a[-1]
    scale = spread / y.std(dim=(0, 2, 3))
    last.weight.data *= scale[:, None, None, None]
    last.bias.data = (last.bias.data - y.mean(dim=(0, 2, 3))) * scale
    head = [m for m in net.h_s if hasattr(m, "weight")][-1]
    head.weight.data *= 1e-3
    head.bias.data.zero_()
    head.bias.data[: len(spread)] = spread


def main() -> None:
    name, path, quality = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    if name.startswith("bifocal"):
        backend = name.partition(":")[2] or "onnxruntime"
        encode, decode, size = bifocal_pair(sys.argv[4], pixels, quality, backend)
    else:
        encode, decode, size = compressai_pair(name, pixels, quality)
    for _ in sys.stdin:
        start = time.perf_counter()
        coded = encode()
        middle = time.perf_counter()
        decode(coded)
        stop = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 2**10
        )
        answer = {"encode": middle - start, "decode": stop - middle, "bytes": size(coded), "peak_mib": peak}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
