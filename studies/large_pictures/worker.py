"""One operation on one file in a process of its own, for run.py: time, and the peak of its memory.

Started as ``PYTHON studies/large_pictures/worker.py WHAT MODEL SOURCE TARGET [QUALITY]`` where WHAT is
encode, decode, box, half or thumb. Prints one line of JSON: ``seconds`` in the codec and ``file_seconds`` in
Pillow (reading and writing the picture), ``cpu`` seconds of all threads in the codec, and ``peak_mib`` of the
process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

import bifocal

BOX = 512


def main() -> None:
    what, folder, source, target = sys.argv[1:5]
    quality = int(sys.argv[5]) if len(sys.argv) > 5 else 60
    model = bifocal.Model.load(folder)
    scale = {"half": Fraction(1, 2), "thumb": Fraction(1, 16)}.get(what, Fraction(1))
    warm = bifocal.encode(
        np.zeros((64, 64, 3), np.uint8), model=model
    )  # networks are opened outside the time
    bifocal.decode(warm, model=model, scale=scale)
    begun = time.perf_counter()
    if what == "encode":
        picture = bifocal.read_picture(source)
        start, cpu = time.perf_counter(), time.process_time()
        data = bifocal.encode(picture, quality, model=model)
        stop, cpu = time.perf_counter(), time.process_time() - cpu
        Path(target).write_bytes(data)
    else:
        start, cpu = begun, time.process_time()
        with open(source, "rb") as file:
            box = None
            if what == "box":
                about = bifocal.info(file)
                left, top = (about.width - BOX) // 2, (about.height - BOX) // 2
                box = (max(left, 0), max(top, 0), min(left + BOX, about.width), min(top + BOX, about.height))
            picture = bifocal.decode(file, model=model, box=box, scale=scale)
        stop, cpu = time.perf_counter(), time.process_time() - cpu
        bifocal.write_picture(picture, target)
    ended = time.perf_counter()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    answer = {
        "seconds": stop - start,
        "file_seconds": (ended - begun) - (stop - start),
        "cpu": cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
