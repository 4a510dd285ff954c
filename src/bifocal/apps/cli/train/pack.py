"""``bifocal-train pack``: a checkpoint as the folder that encodes and decodes without torch."""

from __future__ import annotations

from bifocal.apps.cli.train import options


def pack(
    checkpoint: options.Checkpoint,
    out: options.PackedFolder = None,
    data: options.TablePictures = None,
    name: options.ModelName = "",
    version: options.Release = "",
    streams_of: options.StreamsOf = "",
) -> None:
    """Make the runtime model of a checkpoint and prove that its integers are exact.

    A joint codec's label reader comes with it, as labels.bfh: `bifocal classify --head OUT/labels.bfh`.
    """
    from bifocal.learn.packing.codec import pack_checkpoint

    folder, proof = pack_checkpoint(
        checkpoint, out, data=data, name=name, version=version, streams_of=streams_of
    )
    for net, largest in proof.items():
        print(f"{net:10} largest possible sum {largest:9,} of 2^24 = 16,777,216: exact in float32")
    print(f"wrote {folder}")
