"""``bifocal-train slim``: a small checkpoint."""

from __future__ import annotations

from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options


def slim(checkpoint: options.Checkpoint, out: options.Slim, force: Force = False) -> None:
    """Keep only the averaged weights, in 16 and 8 bits: a small file that a run can resume from."""
    from bifocal.learn.checkpoint import load_checkpoint, save_checkpoint

    check_document(out, force)
    save_checkpoint(out, load_checkpoint(checkpoint), small=True)
    print(f"wrote {out}")
