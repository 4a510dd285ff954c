"""``bifocal-train quantise``: a trained head with 8-bit products."""

from __future__ import annotations

from pathlib import Path

from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli.options import Force
from bifocal.apps.cli.outputs import check_document
from bifocal.apps.cli.train import options
from bifocal.apps.cli.train.packed import as_folder


def quantise(
    head: options.GivenHead,
    data: options.Classes,
    out: options.HeadFile = Path("mine-int8.bfh"),
    base: options.Base = DEFAULT_MODEL,
    test: options.Tested = None,
    names: options.ClassNames = None,
    side: options.Side = 128,
    force: Force = False,
) -> None:
    """Write a head again in 8 bits: less than half the time, and nearly the same labels.

    Training pictures give the range of each layer. Both heads are judged on real streams of other pictures,
    and the card gets both figures.
    """
    from bifocal.learn.training.classify.int8 import quantise_head

    check_document(out, force)
    with as_folder(data) as pictures, as_folder(test) as judged:
        made = quantise_head(head, pictures, out, base=base, test=judged, names=names, side=side)
    print(f"wrote {made.path}")
