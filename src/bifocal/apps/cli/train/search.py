"""``bifocal-train search``: the fittest transformers of a supernet within limits of latency."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.faults.progress import progress_bar
from bifocal.apps.cli.train import options


def search(
    supernet: options.SearchedSupernet,
    latency: options.Latency,
    on: options.OnDevice = "zcu102",
    out: options.FoundFolder = Path("found"),
    guide: options.Guide = "latency",
    population: options.Population = 50,
    parents: options.Parents = 10,
    generations: options.Generations = 20,
    seed: options.SearchSeed = 0,
    threads: options.Threads = 0,
) -> None:
    """Search a supernet for the transformers that are right most often within each limit of latency.

    Writes a configuration for each limit, and the Pareto front as pareto.csv and pareto.html. What was
    searched before in the same folder is not searched again.
    """
    from bifocal.learn.search.evolution import Evolution
    from bifocal.learn.training.machine import prepare
    from bifocal.learn.training.search.searching import read_limits, search_supernet

    prepare("cpu", threads)
    limits = read_limits(latency)
    settings = Evolution(population, min(parents, population), generations, guide=guide, seed=seed)
    show = progress_bar("candidates") or (lambda done, total: None)
    chosen = search_supernet(supernet, on, limits, out, settings=settings, progress=show)
    print(f"wrote {', '.join(chosen)}, pareto.csv and pareto.html in {out}")
    print(f"fine-tune one: bifocal-train finetune {out / next(iter(chosen))} --data FOLDER --minutes 5")
