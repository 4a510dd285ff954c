"""``bifocal models``: which models are installed."""

from __future__ import annotations


def models() -> None:
    """List the installed models."""
    from bifocal.runtime.registry import installed

    print(f"{'name':<12} {'wire id':>7} {'fingerprint':<16} {'parameters':>10} {'size':>9}  licence")
    for card in installed():
        size = f"{card.size / 2**20:.1f} MiB"
        print(
            f"{card.name:<12} {card.wire_id:>7} {card.fingerprint:<16} {card.parameters:>10,} {size:>9}  "
            f"{card.licence}"
        )
