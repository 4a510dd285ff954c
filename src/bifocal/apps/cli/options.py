"""The options of the commands, each declared once: first those of several commands, then those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bifocal._version import DEFAULT_MODEL

#: The name of standard input and output, and of the devices that are the same.
STANDARD = "-"
INPUT_NAMES, OUTPUT_NAMES = frozenset({STANDARD, "/dev/stdin"}), frozenset({STANDARD, "/dev/stdout"})

_STREAMS = typer.Argument(
    help="Streams, or folders of them; URLs too; - is standard input.", show_default=False
)

Pictures = Annotated[
    list[str],
    typer.Argument(help="Pictures, or folders of them; URLs too; - is standard input.", show_default=False),
]
PictureFiles = Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)]
Streams = Annotated[list[str], _STREAMS]
StreamsOrNone = Annotated[list[str] | None, _STREAMS]
Output = Annotated[
    str | None,
    typer.Option(
        "--out",
        "--output",
        "-o",
        help="The file to write; a folder, if NAME exists as one, ends in /, has no suffix or there are "
        "several results; - is standard output.",
        metavar="NAME",
        show_default="beside the input",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist already.")]
Model = Annotated[
    str | None,
    typer.Option(help="An installed model, or the folder of a packed one.", show_default=DEFAULT_MODEL),
]
StreamModel = Annotated[
    str | None,
    typer.Option(
        help="The folder of a packed model.", show_default="the installed one that the stream names"
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="What computes the pixels when decoding, such as openvino; `bifocal doctor` lists all.",
        show_default="onnxruntime",
    ),
]
HeadName = Annotated[
    str, typer.Option("--head", help="What reads the streams: a shipped head, or a .bfh file of your own.")
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels", min=1, help="Refuse larger pictures before decoding them.", show_default="134217728"
    ),
]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes to work with; they share the processors.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of each process.", show_default="processors ÷ jobs"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped: finished files are kept.")
]
Engine = Annotated[
    str, typer.Option(help="What runs the jobs: local, or ray for a cluster.", metavar="local|ray")
]
Address = Annotated[
    str | None,
    typer.Option(help="With --engine ray: the cluster.", show_default="$RAY_ADDRESS, or one started here"),
]
KeepSuffix = Annotated[
    bool, typer.Option("--keep-suffix", help="Call results as in a.jpg.bfc: a.png may be there, too.")
]
Shard = Annotated[str, typer.Option(help="Work on the i-th of n parts, such as 2/8.", metavar="I/N")]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="Write the files that failed, and why, to this JSON file.")
]

# encode

Quality = Annotated[
    int | None,
    typer.Option("--quality", "-q", min=1, max=100, help="1 smallest, 100 best.", show_default="60"),
]
Size = Annotated[
    str | None, typer.Option(help="Instead: the most bytes a stream may have, such as 50kB or 1MiB.")
]
Psnr = Annotated[float | None, typer.Option(help="Instead: the least PSNR of the decoded picture in dB.")]
Effort = Annotated[
    int | None,
    typer.Option(
        "--effort",
        "-e",
        min=0,
        max=9,
        help="0 fastest, 9 slowest: a better picture, by some tenths of a dB, at nearly the same bytes.",
        show_default="1, or 3 with --size or --psnr",
    ),
]
QualityMap = Annotated[
    Path | None, typer.Option(help="A picture, white where quality matters and black where not.")
]
Strip = Annotated[
    list[str] | None,
    typer.Option(
        "--strip",
        help="Leave out metadata: all, or any of gps, exif, xmp, icc, caption; repeat it, or use commas.",
    ),
]
Lossless = Annotated[
    bool | None,
    typer.Option(
        "--lossless/--lossy",
        help="Store the exact pixels, or never do.",
        show_default="drawn content is exact where that costs little",
    ),
]
Caption = Annotated[
    str | None, typer.Option(help="What the picture shows; it travels in the stream, for `bifocal search`.")
]
Captions = Annotated[
    Path | None,
    typer.Option(
        help="Captions of many pictures: a text file, in each line a file name, a tab and the caption, and "
        "perhaps a tab and a language such as en."
    ),
]
CaptionLanguage = Annotated[str, typer.Option("--language", help="Language of --caption, such as en.")]
CaptionFromMetadata = Annotated[
    bool,
    typer.Option(
        "--caption-from-metadata", help="Otherwise take the caption in the picture's XMP, IPTC or EXIF."
    ),
]
Tile = Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 64.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse pictures of more than 8 bits, instead of rounding them.")
]
Plane = Annotated[
    Path | None,
    typer.Option(help="A gray picture of the same size to go with it, such as infrared or depth."),
]
# decode

DecodedPlane = Annotated[
    Path | None, typer.Option("--plane", help="A file for the plane that a stream has beside its picture.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="png, webp, avif, ppm … whatever Pillow writes.",
        show_default="that of --out, or png",
    ),
]
Box = Annotated[
    str | None,
    typer.Option(help="Only this part: LEFT,TOP,RIGHT,BOTTOM in pixels.", show_default="everything"),
]
Scale = Annotated[str, typer.Option(help="Size of the result: 1, or 1/2, 1/4, 1/8 or 1/16 of the full one.")]

# info, classify

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
LabelsFile = Annotated[
    Path | None,
    typer.Option("--json", "-o", help="Write the labels of every file to this file; - is standard output."),
]
Top = Annotated[int, typer.Option("--top", "-k", min=1, help="How many labels a file gets.")]
AtLeast = Annotated[
    float,
    typer.Option(
        "--at-least",
        min=0,
        max=1,
        help="Leave out labels below this probability, such as 0.7; a file without any is 'unknown'.",
    ),
]
Examples = Annotated[
    Path | None,
    typer.Option(
        help="Name streams by example: a folder with one subfolder of a few pictures or .bfc files for each "
        "class. Nothing is trained.",
        show_default=False,
    ),
]
Classes = Annotated[bool, typer.Option("--classes", help="List the classes that the head knows, and leave.")]
Explain = Annotated[
    Path | None, typer.Option(help="Draw what the head looked at in one stream, as a picture.")
]

# search

Sought = Annotated[
    list[str],
    typer.Argument(
        metavar="[WORDS] STREAMS...",
        help="What to look for, in quotes, unless --like or --label says it; then streams, or folders.",
        show_default=False,
    ),
]
Like = Annotated[
    Path | None,
    typer.Option(help="Look for what a picture, or a .bfc stream, shows instead.", show_default=False),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Only streams to which the head, or the --detector, gives this label.", show_default=False
    ),
]
LabelDetector = Annotated[
    Path | None,
    typer.Option("--detector", help="With --label: a .bfd file that finds objects.", show_default=False),
]
By = Annotated[
    str | None,
    typer.Option(
        help="meaning, by a text encoder, or words.", show_default="meaning where an encoder is installed"
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("--html", help="Write a page with thumbnails to this file, too.", show_default=False),
]
Open = Annotated[bool, typer.Option("--open", help="Open that page in the browser.")]
TopFound = Annotated[int, typer.Option("--top", "-k", min=1, help="How many streams to print.")]
IndexFile = Annotated[
    Path | None,
    typer.Option(
        "--index",
        help="File that keeps what was read for the next search.",
        show_default="in the cache folder",
    ),
]

# bench

Qualities = Annotated[
    str, typer.Option("--qualities", "-q", help="Bifocal's qualities, such as 10,50,90.", show_default=False)
]
Peers = Annotated[str, typer.Option(help="Codecs to compare with, or 'none'.")]
Csv = Annotated[Path | None, typer.Option(help="Write every row to this file, too; - is standard output.")]
Analyse = Annotated[
    bool, typer.Option("--analyse", help="Time instead: picture, labels, both, and decoding to classify.")
]
Against = Annotated[
    str | None,
    typer.Option(
        help="With --analyse: the .bfh of a classifier that reads pixels.",
        show_default="our analysis network and the same head",
    ),
]
Repeats = Annotated[int, typer.Option(min=1, help="With --analyse: times that each is done.")]

# detect

PicturesOrStreams = Annotated[
    list[str],
    typer.Argument(help="Pictures, .bfc streams, or folders of them.", show_default=False),
]
DetectorName = Annotated[
    str, typer.Option("--detector", help="A .bfd file, by `bifocal-train detect`.", show_default=False)
]
Infrared = Annotated[
    Path | None,
    typer.Option("--ir", help="Folder of infrared pictures, called as the pictures are.", show_default=False),
]
BoxesFile = Annotated[
    Path | None,
    typer.Option("--json", "-o", help="Write all boxes to this file; - is standard output."),
]
Draw = Annotated[
    Path | None, typer.Option(help="Folder for pictures with the boxes drawn in.", show_default=False)
]
LeastScore = Annotated[
    float, typer.Option("--at-least", min=0, max=1, help="Leave out boxes below this score.")
]
