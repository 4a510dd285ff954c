"""``bifocal-train revive``: dormant units of a checkpoint started afresh."""

from __future__ import annotations

from bifocal.apps.cli.train import options


def revive(checkpoint: options.Checkpoint, data: options.TrainedOn, out: options.Revived) -> None:
    """Start units that no picture wakes afresh, without changing what the network computes."""
    from bifocal.learn.training.dormant import revive_checkpoint

    count = revive_checkpoint(checkpoint, data, out)
    print(f"started {count} units afresh; wrote {out}")
