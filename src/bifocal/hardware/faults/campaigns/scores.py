"""From effects to vulnerability: scores of faults, of LUTs and of the design, with intervals for samples.

For a fault: S_t, the share of wrong cycles; S_h, the mean share of wrong output bits; whether any output
was ever wrong; whether only the state is (latent). For a site (a LUT): V, the share of its faults that
ever make an output wrong, and its mean S_t. For the design: counts and the sum of S_t over all faults.
The paper (arXiv 2303.12269) has a vulnerability score; we could not read its formula. These are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.faults.result import LEFT_OUT, SIMULATED, UNADDRESSED, CampaignResult, Site

#: Two-sided 95 %.
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class SiteScore:
    """The faults of one LUT, flip-flop or net.

    ``known`` counts those whose effects is known (all, unless faults were left out by sampling),
    ``wrong`` and ``latent`` those among them that are; ``vulnerability`` is wrong / known, ``mean_share``
    the mean S_t of the known, ``score`` its sum. Both shares are 0 where nothing is known.
    """

    site: Site
    faults: int
    known: int
    wrong: int
    latent: int
    vulnerability: float
    mean_share: float
    score: float


@dataclass(frozen=True, slots=True)
class DesignScore:
    """The scores of a whole campaign.

    ``score`` is the sum of S_t over all faults. With sampling, ``score`` and ``wrong_share`` are
    estimates: faults that are never addressed are known exactly, the others are scaled up from the
    sample; ``interval`` is then Wilson's 95 % interval of ``wrong_share``, otherwise both its ends are
    ``wrong_share``. ``median_first`` is the median first wrong cycle, −1 if nothing was ever wrong.
    """

    faults: int
    unaddressed: int
    simulated: int
    left_out: int
    wrong: int
    latent: int
    wrong_share: float
    interval: tuple[float, float]
    score: float
    mean_share: float
    mean_hamming: float
    median_first: int


def share_of_wrong_cycles(result: CampaignResult) -> NDArray[np.float64]:
    """S_t of every fault, float64 ``[n]``; 0 for those that sampling left out."""
    return result.wrong_cycles / np.float64(result.cycles)


def share_of_wrong_bits(result: CampaignResult) -> NDArray[np.float64]:
    """S_h of every fault: wrong output bits among all output bits of all cycles, float64 ``[n]``."""
    return result.wrong_bits / np.float64(result.cycles * result.outputs)


def score_sites(result: CampaignResult) -> list[SiteScore]:
    """A score for every site, the most vulnerable first: by score, then by vulnerability, then by name."""
    count = len(result.sites)
    known = result.status != LEFT_OUT
    wrong = result.first_wrong >= 0

    def total(values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(result.site, weights=values, minlength=count), np.float64)

    faults, knowns = np.bincount(result.site, minlength=count), total(known)
    wrongs, latents, score = total(wrong), total(result.latent), total(share_of_wrong_cycles(result))
    rows = [
        SiteScore(
            site=site,
            faults=int(faults[i]),
            known=int(knowns[i]),
            wrong=int(wrongs[i]),
            latent=int(latents[i]),
            vulnerability=float(wrongs[i] / max(1, knowns[i])),
            mean_share=float(score[i] / max(1, knowns[i])),
            score=float(score[i]),
        )
        for i, site in enumerate(result.sites)
    ]
    return sorted(rows, key=lambda row: (-row.score, -row.vulnerability, row.site.name))


def score_design(result: CampaignResult) -> DesignScore:
    """The scores of the whole campaign."""
    unaddressed, simulated, left_out = (
        int((result.status == status).sum()) for status in (UNADDRESSED, SIMULATED, LEFT_OUT)
    )
    wrong = int((result.first_wrong >= 0).sum())
    total = max(1, len(result))
    scale = (simulated + left_out) / max(1, simulated)  # how many faults each simulated one represents
    share = wrong * scale / total
    interval = (share, share)
    if left_out:
        low, high = wilson(wrong, simulated)
        interval = (low * (simulated + left_out) / total, high * (simulated + left_out) / total)
    score = float(share_of_wrong_cycles(result).sum()) * scale
    first = result.first_wrong[result.first_wrong >= 0]
    return DesignScore(
        faults=len(result),
        unaddressed=unaddressed,
        simulated=simulated,
        left_out=left_out,
        wrong=wrong,
        latent=int(result.latent.sum()),
        wrong_share=share,
        interval=interval,
        score=score,
        mean_share=score / total,
        mean_hamming=float(share_of_wrong_bits(result).sum()) * scale / total,
        median_first=int(np.median(first)) if len(first) else -1,
    )


def saturation(result: CampaignResult, points: int = 100) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many faults had made an output wrong after how many cycles: int64 ``[≤ points]`` each.

    The cycles are spaced evenly in their logarithm, from 1 to all.
    """
    cycles = np.unique(np.geomspace(1, result.cycles, points).round().astype(np.int64))
    first = np.sort(result.first_wrong[result.first_wrong >= 0])
    return cycles, np.searchsorted(first, cycles, side="left").astype(np.int64)


def wilson(hits: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share (1927), which is also right near 0 and 1.

    >>> low, high = wilson(0, 100)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.037)
    """
    if trials == 0:
        return 0.0, 1.0
    share = hits / trials
    middle = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
