"""The options of the training commands, each declared once: first those of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# -- of several commands -------------------------------------------------------------------------------------

Minutes = Annotated[
    float,
    typer.Option(
        min=0, help="Stop after this long; validation does not count. 0 is no limit.", show_default=False
    ),
]
CpuMinutes = Annotated[
    float,
    typer.Option(
        min=0,
        help="Stop after so much processor time of all threads together, for machines that are shared.",
        show_default=False,
    ),
]
Steps = Annotated[int, typer.Option(min=0, help="Stop after this many steps, if no time limit comes first.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.", show_default="cuda if there is one")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves torch's choice.")]
Pictures = Annotated[Path, typer.Option(help="Folder of pictures or of tar shards.", show_default=False)]
TrainedOn = Annotated[Path, typer.Option(help="The training pictures.", show_default=False)]
RunFolder = Annotated[Path | None, typer.Option(help="Where to write.", show_default="runs/NAME")]
Checkpoint = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint of `bifocal-train run`, or a packed model by folder or, if installed, by name.",
        show_default=False,
    ),
]
StreamsOf = Annotated[
    str,
    typer.Option(
        help="A packed model, by name or folder, whose streams the new one shall read: for a codec that was "
        'unpacked from it and trained with part = "synthesis".',
        show_default=False,
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(help="File of lines FOLDER<TAB>NAME, for better names of classes.", show_default=False),
]

# -- of run and distil ---------------------------------------------------------------------------------------

Recipe = Annotated[
    Path,
    typer.Argument(help="A recipe of yours, or a shipped one: recipes/lapped.toml.", show_default=False),
]
StudentRecipe = Annotated[
    Path,
    typer.Argument(
        help="A recipe with a [distil] table, yours or shipped: recipes/feds-small.toml.", show_default=False
    ),
]
PicturesOrClasses = Annotated[
    Path,
    typer.Option(
        help="Folder of pictures or of tar shards; a joint recipe takes a subfolder for each class.",
        show_default=False,
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint to go on from, with the optimiser's state in it; or a packed model, by name or "
        "folder, whose optimiser starts anew.",
        show_default=False,
    ),
]
Teacher = Annotated[
    Path, typer.Option(help="Checkpoint of the teacher, by `bifocal-train run`.", show_default=False)
]

# -- of head -------------------------------------------------------------------------------------------------

Classes = Annotated[
    Path,
    typer.Option(
        help="Folder with one subfolder of pictures, or of .bfc files, for each class; or shards of "
        "pack-dataset, a .tar or a .zip file.",
        show_default=False,
    ),
]
GivenHead = Annotated[
    str, typer.Argument(metavar="{head}", help="A shipped head, or a .bfh file.", show_default=False)
]
HeadFile = Annotated[Path, typer.Option(help="The head, for `bifocal classify --head`.")]
Task = Annotated[
    str,
    typer.Option(help="classify, or embed: an embedding alone, of a folder of pictures without classes."),
]
HeadTeacher = Annotated[
    str,
    typer.Option(
        help="A network that knows pictures and teaches the head: efficientnet-lite0, whose weights are a "
        "package of their own. It also gives the head an embedding, for `bifocal search`.",
        show_default=False,
    ),
]
Unlabelled = Annotated[
    Path | None,
    typer.Option(help="Folder of more pictures, without classes, for the embedding.", show_default=False),
]
Tested = Annotated[
    Path | None,
    typer.Option(
        help="Folder like --data that the finished head is judged on, too: nothing is chosen by it.",
        show_default=False,
    ),
]
Base = Annotated[str, typer.Option(help="The codec whose streams it reads: a model's name or folder.")]
Side = Annotated[int, typer.Option(help="Side in pixels of what the head sees at once.")]
Views = Annotated[int, typer.Option(help="Views that are made of each picture, all but one random.")]
Held = Annotated[float, typer.Option(help="Share of the pictures that the head is judged on.")]
Channels = Annotated[
    int, typer.Option(help="Channels of the latents that it reads; 0: the first band, the cheapest.")
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="See a picture of any size at once, pooled to the positions of a view, in place of windows: a "
        "label then costs the same for every size.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        help="A head to start from, shipped (imagenette) or a file: for few pictures.", show_default=False
    ),
]
ResumeHead = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint in the report folder of an earlier run, with the same data and options, to go on "
        "from; with the same --work its pictures are not read again.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[float] | None,
    typer.Option(
        help="Share of the positions that a token selector keeps, once for each selector: a transformer "
        "whose --explain shows what it dropped, in place of the residual network.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(help="Of views, split and batches.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Folder for checkpoint, curve and confusion matrix.", show_default="beside the head"),
]
Work = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps the views of pictures for further runs.", show_default=False),
]
Card = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE for the head's card, as licence=CC-BY-4.0; any number of them.", show_default=False
    ),
]

# -- of detect -----------------------------------------------------------------------------------------------

Annotations = Annotated[
    Path,
    typer.Option(
        help="A COCO JSON, whose ir_file_name names infrared; or a folder with one, with images and labels "
        "as YOLO has them, or of VEDAI.",
        show_default=False,
    ),
]
JudgedOn = Annotated[
    Path | None, typer.Option(help="The data set to judge on.", show_default="a share of --data")
]
DetectorFile = Annotated[Path, typer.Option(help="The detector, for `bifocal detect --detector`.")]
Modalities = Annotated[str, typer.Option(help="What it sees: rgb, ir, or rgb,ir.")]
Fusion = Annotated[str, typer.Option(help="How colour and infrared are brought together: mf or concat.")]
SuperResolution = Annotated[
    str, typer.Option("--sr", help="on: learn to enlarge pictures, too, in training alone; or off.")
]
Size = Annotated[str, typer.Option(help="slim, for a processor, or paper: 16 times the parameters.")]
ViewSide = Annotated[int, typer.Option("--side", help="Side in pixels of the views that it is trained on.")]
Shrink = Annotated[int, typer.Option(help="How much smaller the network sees pictures: 2, or 1.")]
Ignored = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore", help="A class where nothing is learned or judged; repeat it.", show_default=False
    ),
]
Fold = Annotated[
    str, typer.Option(help="Of VEDAI: the list to train on, such as fold01.", show_default=False)
]
ReadsStreams = Annotated[
    str,
    typer.Option(
        "--streams-of", help="A codec: the detector reads latents of its streams.", show_default=False
    ),
]
Near = Annotated[
    float, typer.Option(help="Also judge by the distance of centres in pixels, for objects that are points.")
]
Draws = Annotated[int, typer.Option(min=0, help="Draw pictures again so often, for intervals.")]
CheckOnly = Annotated[bool, typer.Option("--check", help="Check the data set, and leave.")]

# -- of pack, revive, slim and cost --------------------------------------------------------------------------

PackedFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the packed model, replaced as a whole.", show_default="packed/NAME"),
]
TablePictures = Annotated[
    Path | None,
    typer.Option(help="The training pictures: the tables are fitted to their symbols.", show_default=False),
]
ModelName = Annotated[str, typer.Option(help="The model's name.", show_default="its codec's")]
Release = Annotated[str, typer.Option(help="The Bifocal version that ships it.", show_default="this one")]
Revived = Annotated[Path, typer.Option(help="The checkpoint to go on from.", show_default=False)]
LargerRecipe = Annotated[
    Path, typer.Argument(help="A recipe of the same codec with larger sizes.", show_default=False)
]
Grown = Annotated[Path, typer.Option(help="The larger checkpoint.", show_default=False)]
Slim = Annotated[Path, typer.Option(help="The small checkpoint.", show_default=False)]
CountedRecipe = Annotated[
    Path, typer.Argument(help="The recipe of a codec.", show_default="the default codec's")
]

# -- of lowbit -----------------------------------------------------------------------------------------------

LowBitRecipe = Annotated[
    Path,
    typer.Argument(help="A recipe of arms, yours or shipped: recipes/lowbit-small.toml.", show_default=False),
]
LabelledPictures = Annotated[
    Path, typer.Option(help="Folder with one subfolder of pictures for each class.", show_default=False)
]
JudgedPictures = Annotated[
    Path,
    typer.Option(help="Folder like --data to judge by; never trained on.", show_default=False),
]
Arms = Annotated[
    list[str] | None,
    typer.Option("--arm", help="Only this arm of the recipe; any number of them.", show_default=False),
]
ArmSeeds = Annotated[
    list[int] | None,
    typer.Option("--seed", min=0, help="Instead of the recipe's seeds; any number.", show_default=False),
]
Epochs = Annotated[float, typer.Option(min=0, help="Instead of the recipe's epochs.", show_default=False)]
SomePictures = Annotated[
    int, typer.Option("--pictures", min=0, help="Train on so many pictures only; 0 takes all.")
]
ArmsFolder = Annotated[
    Path | None,
    typer.Option(
        help="Where results go; arms that are there already are not trained again.",
        show_default="runs/NAME",
    ),
]

# -- of supernet, search and finetune ------------------------------------------------------------------------

Space = Annotated[
    Path, typer.Option(help="A search space, yours or shipped: tiny.toml, small.toml or t.toml.")
]
SupernetFolder = Annotated[Path, typer.Option(help="Folder of the supernet.")]
OnLatents = Annotated[
    bool,
    typer.Option("--latents", help="Read latents of a codec's streams, so that the result labels streams."),
]
SearchViews = Annotated[int, typer.Option("--views", help="With --latents: views made of each picture.")]
SearchHeld = Annotated[
    float, typer.Option("--held", help="Share of the pictures that subnets are compared on.")
]
SearchBatch = Annotated[int, typer.Option("--batch", min=1, help="Pictures a step.")]
OneSubnet = Annotated[
    bool,
    typer.Option(
        "--one", help="One random subnet a step, in place of the largest, the smallest and a random one."
    ),
]
SeparateRows = Annotated[
    bool,
    typer.Option(
        "--separate",
        help="Rows of 4 bits get weights of their own, not the top half of those of 8 bits: for comparisons.",
    ),
]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate of AdamW at its highest.")]
ResumeSupernet = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a supernet of the same space, data and options to go on from.", show_default=False
    ),
]
SearchedSupernet = Annotated[
    Path, typer.Argument(help="Folder of `bifocal-train supernet`.", show_default=False)
]
Latency = Annotated[str, typer.Option(help="Limits of latency, as 2ms,4ms or 500us.", show_default=False)]
OnDevice = Annotated[
    str,
    typer.Option("--device", help="zcu102 (modelled), cpu (this machine, measured), or a TOML file."),
]
FoundFolder = Annotated[Path, typer.Option(help="Folder of what is found, and of the search's state.")]
Guide = Annotated[
    str, typer.Option(help="What limits candidates: latency; or as a control macs, or random drawing.")
]
Population = Annotated[int, typer.Option(min=1, help="Candidates a generation.")]
Parents = Annotated[int, typer.Option(min=1, help="The fittest, from which the next generation is made.")]
Generations = Annotated[int, typer.Option(min=1, help="Generations for each limit.")]
SearchSeed = Annotated[int, typer.Option("--seed", min=0, help="Of candidates: the same finds the same.")]
FoundConfig = Annotated[
    Path, typer.Argument(help="A TOML file of `bifocal-train search`.", show_default=False)
]
FoundHeadFile = Annotated[
    Path | None, typer.Option(help="The head.", show_default="beside the configuration, .bfh")
]
MovedSupernet = Annotated[
    Path | None, typer.Option(help="The supernet, if it has moved since the search.", show_default=False)
]
