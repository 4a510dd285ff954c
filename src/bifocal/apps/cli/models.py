"""``bifocal models``: which models and heads are installed."""

from __future__ import annotations


def models() -> None:
    """List the installed models, and the heads that read their streams."""
    from bifocal.runtime.cards import installed
    from bifocal.runtime.heads.file import read_card, shipped_heads

    print(f"{'name':<16} {'wire id':>7} {'fingerprint':<16} {'parameters':>10} {'size':>9}  licence")
    for card in installed():
        size = f"{card.size / 2**20:.1f} MiB"
        print(
            f"{card.name:<16} {card.wire_id:>7} {card.fingerprint:<16} {card.parameters:>10,} {size:>9}  "
            f"{card.licence}"
        )
    for number, path in enumerate(shipped_heads()):
        if not number:
            print(f"\n{'head':<16} {'classes':>7} {'reads':<16} {'size':>20}  licence")
        head = read_card(path)
        size = f"{path.stat().st_size / 2**20:.1f} MiB"
        licence = head.card.get("licence", "")
        print(f"{path.stem:<16} {len(head.classes):>7} {head.codec:<16} {size:>20}  {licence}")
