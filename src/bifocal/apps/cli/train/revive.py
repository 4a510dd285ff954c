"""``bifocal-train revive``: dormant units of a checkpoint started afresh."""

from __future__ import annotations

from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options


def revive(
    checkpoint: options.Checkpoint, data: options.TrainedOn, out: options.Revived, force: Force = False
) -> None:
    """Start units that no picture wakes afresh, without changing what the network computes."""
    from bifocal.learn.training.dormant import revive_checkpoint

    check_document(out, force)
    count = revive_checkpoint(checkpoint, data, out)
    print(f"started {count} units afresh; wrote {out}")
