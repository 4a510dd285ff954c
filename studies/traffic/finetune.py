"""Fine-tune a codec's synthesis for small activations, on latents that are made once.

The rest of the codec stays, and with it every stream: bits do not change, only what the decoder makes of
them. Qualities are drawn around one. Budgets are processor seconds.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bifocal.learn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bifocal.learn.data.crops import load_corpus
from bifocal.learn.nets.activations import ActivationBits, stored_outputs
from bifocal.learn.nets.codec import Codec, quality_anchors, quality_lambda

CROPS, SIDE, BATCH = 384, 128, 8
LR, STEP_LR = 2e-4, 2e-2
ARMS = ("1e-3", "3e-3", "3e-4", "1e-3:sparse", "0")


def latents(model: Codec, data: Path, quality: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crops ``[n, 3, 128, 128]`` (uint8), their decoded latents and their qualities, within 10 of one."""
    generator = torch.Generator().manual_seed(seed)
    pictures = load_corpus(data, exclude=("urban100", "mate-desktop", "KDE"), validation=64).train
    crops, decoded, qualities = [], [], []
    with torch.no_grad():
        for _ in range(CROPS // BATCH):
            batch: list[Tensor] = []
            while len(batch) < BATCH:
                picture = pictures[int(torch.randint(len(pictures), (1,), generator=generator))]
                h, w = picture.shape[:2]
                if min(h, w) >= SIDE:
                    top, left = (int(torch.randint(n - SIDE + 1, (1,), generator=generator)) for n in (h, w))
                    cut = torch.from_numpy(picture[top : top + SIDE, left : left + SIDE].copy())
                    batch.append(cut.permute(2, 0, 1))
            pixels = torch.stack(batch)
            chosen = torch.randint(quality - 10, quality + 11, (BATCH,), generator=generator)
            anchors = quality_anchors(chosen, model.config.anchors)
            gain, inverse = model.gains(anchors)
            y, _, _ = model.estimate(model.analyse(pixels.float()) * gain, anchors, exact=True, noise=False)
            crops.append(pixels)
            decoded.append(y * inverse)
            qualities.append(chosen)
    return torch.cat(crops), torch.cat(decoded), torch.cat(qualities)


def two_of_four(weight: Tensor) -> Tensor:
    """A mask that keeps the two largest of every four weights along the inputs of a kernel ``[o, i, h, "
    "w]``."""
    groups = weight.transpose(1, -1).reshape(-1, 4) if weight.shape[1] % 4 == 0 else None
    if groups is None:
        return torch.ones_like(weight)
    kept = torch.zeros_like(groups).scatter_(1, groups.abs().topk(2, 1).indices, 1.0)
    shape = weight.transpose(1, -1).shape
    return kept.reshape(shape).transpose(1, -1)


def finetune(
    model: Codec,
    made: tuple[Tensor, Tensor, Tensor],
    *,
    strength: float,
    seconds: float,
    sparse: bool = False,
    seed: int = 0,
) -> tuple[int, float]:
    """Train the synthesis for so many processor seconds; how many steps that were, and bits a pixel at the
    end, as estimated. The learning rate falls to zero along a line."""
    torch.manual_seed(seed)
    pixels, y, quality = made
    synthesis = getattr(model, "synthesis")  # noqa: B009
    count = ActivationBits(stored_outputs(synthesis))
    masks = {p: two_of_four(p.data) for p in synthesis.parameters() if sparse and p.ndim == 4}
    groups: list[dict[str, Any]] = [
        {"params": list(synthesis.parameters()), "lr": LR},
        {"params": list(count.parameters()), "lr": STEP_LR},
    ]
    optimiser = torch.optim.Adam(groups)
    rates = [group["lr"] for group in groups]
    began, steps, bits = time.process_time(), 0, 0.0
    while (done := (time.process_time() - began) / seconds) < 1:
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - done)
        pick = torch.randint(len(pixels), (BATCH,))
        loss, bits = _loss(model, count if strength else None, pixels[pick], y[pick], quality[pick], strength)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(synthesis.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for parameter, mask in masks.items():
                parameter *= mask
        steps += 1
    return steps, bits


def _loss(
    model: Codec, count: ActivationBits | None, pixels: Tensor, y: Tensor, quality: Tensor, strength: float
) -> tuple[Tensor, float]:
    target = pixels.float()
    if count is None:
        output, bits = model.synthesise(y), torch.zeros(len(y))
    else:
        with count.counting():
            output = model.synthesise(y)
        bits = count.bits() / (SIDE * SIDE)
    mse = ((output - target) ** 2).mean((1, 2, 3))
    lam = quality_lambda(model.config, quality)
    weight = (model.config.lambda_min / lam) ** 0.5
    return (weight * (lam * mse + strength * bits)).mean(), float(bits.detach().mean())


def main() -> None:
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of training pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60, help="of the processor, each arm")
    parser.add_argument(
        "--arms", default=",".join(ARMS), help="strengths, with :sparse for 2:4 (%(default)s)"
    )
    given = parser.parse_args()
    old = load_checkpoint(given.checkpoint)
    first = old.model()
    began = time.process_time()
    made = latents(first, given.data, given.quality, seed=1)
    print(f"latents: {time.process_time() - began:.0f} processor seconds", flush=True)
    for arm in given.arms.split(","):
        strength, _, extra = arm.partition(":")
        model = copy.deepcopy(first)
        sparse = extra == "sparse"
        steps, bits = finetune(model, made, strength=float(strength), seconds=given.seconds, sparse=sparse)
        print(f"{arm}: {steps} steps, {bits:.1f} bits a pixel at the end, estimated", flush=True)
        weights = model.state_dict()
        kept: Checkpoint = replace(old, average=weights, weights=weights, optimiser={})
        save_checkpoint(given.out / f"{arm.replace(':', '-')}.safetensors", kept, small=True)


if __name__ == "__main__":
    main()
