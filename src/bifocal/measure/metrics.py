"""Picture distortion: PSNR over RGB and multi-scale structural similarity.

MS-SSIM follows Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment"
(Asilomar 2003): five scales, an 11-tap Gaussian window of sigma 1.5 applied only where it fits, means over
the picture at each scale, exponents from the paper. Where the paper leaves room we follow the convention of
the published tables we compare with (CompressAI, pytorch-msssim): each colour channel by itself and the
mean of the three, negative terms clamped to zero, 2x2 box averaging between scales with a zero row or
column put in front of an odd side. Everything is float64 and needs about ten times one channel of the
picture in memory.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bifocal.measure import MeasureError

#: Exponents of the five scales, finest first (Wang 2003, section 3.2).
SCALE_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
SIGMA = 1.5
#: The smallest side whose fifth scale still holds one whole window.
SMALLEST_SIDE = (WINDOW - 1) * 2 ** (len(SCALE_EXPONENTS) - 1) + 1

Pixels = NDArray[np.uint8]

_STRIP = 64


def rgb(pixels: Pixels) -> Pixels:
    """Gray pixels ``[h, w]`` as RGB ``[h, w, 3]``; RGB as it is.

    >>> rgb(np.zeros((2, 5), np.uint8)).shape
    (2, 5, 3)
    """
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures of one shape, ``[h, w]`` or ``[h, w, 3]``.

    The squared error is averaged over all pixels and channels together. Equal pictures give ``inf``.

    Raises MeasureError when shapes or types do not fit.

    >>> import numpy as np
    >>> black = np.zeros((4, 4, 3), np.uint8)
    >>> round(psnr(black, black + 1), 2)
    48.13
    """
    _check_pair(a, b)
    # Row strips keep the widened copies small; sums of squares of integers are exact in int64.
    total = 0
    for top in range(0, a.shape[0], 256):
        d = a[top : top + 256].astype(np.int64) - b[top : top + 256]
        total += int(np.vdot(d, d))
    return math.inf if total == 0 else 10.0 * math.log10(255.0**2 * a.size / total)


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Five-scale MS-SSIM of two uint8 pictures, 0 to 1: the mean over the channels of ``[h, w]`` or ``[h,
    w, 3]``.

    Raises MeasureError when shapes or types do not fit, or when a side is under 161 pixels: fewer scales
    would be another measure under the same name, so there is no fallback.

    >>> import numpy as np
    >>> picture = np.arange(180 * 170, dtype=np.uint32).reshape(180, 170).astype(np.uint8)
    >>> ms_ssim(picture, picture)
    1.0
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < SMALLEST_SIDE:
        raise MeasureError(
            f"MS-SSIM of a {a.shape[1]}x{a.shape[0]} picture is not defined: "
            f"its five scales need sides of at least {SMALLEST_SIDE} pixels. Use a larger picture, or PSNR."
        )
    planes_a, planes_b = (x[:, :, None] if x.ndim == 2 else x for x in (a, b))
    channels = [
        _ms_ssim_plane(planes_a[:, :, c].astype(np.float64), planes_b[:, :, c].astype(np.float64))
        for c in range(planes_a.shape[2])
    ]
    return float(np.mean(channels))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM on the logarithmic scale of the field's plots, ``-10 log10(1 - value)``; ``inf`` for 1."""
    return math.inf if value >= 1.0 else -10.0 * math.log10(1.0 - value)


def _ms_ssim_plane(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    product = 1.0
    for scale, exponent in enumerate(SCALE_EXPONENTS):
        last = scale == len(SCALE_EXPONENTS) - 1
        similarity, contrast = _ssim_means(a, b)
        product *= max(similarity if last else contrast, 0.0) ** exponent
        if not last:
            a, b = _halve(a), _halve(b)
    return product


def _ssim_means(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of two planes on the 0..255 scale."""
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    both = mean_a * mean_b
    squares = mean_a * mean_a + mean_b * mean_b
    variances = _blur(a * a + b * b) - squares
    covariance = _blur(a * b) - both
    contrast = (2.0 * covariance + c2) / (variances + c2)
    luminance = (2.0 * both + c1) / (squares + c1)
    return float(np.mean(luminance * contrast)), float(np.mean(contrast))


def _band() -> NDArray[np.float64]:
    """The window as a banded matrix [strip + 10, strip]: column j weighs samples j to j + 10."""
    x = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(x**2) / (2.0 * SIGMA**2))
    taps /= taps.sum()
    band = np.zeros((_STRIP + WINDOW - 1, _STRIP))
    for j in range(_STRIP):
        band[j : j + WINDOW, j] = taps
    return band


_BAND = _band()


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian window where it fits, strip by strip: BLAS is faster here than eleven shifts."""
    reach = WINDOW - 1
    rows = np.empty((x.shape[0] - reach, x.shape[1]))
    for top in range(0, rows.shape[0], _STRIP):
        n = min(_STRIP, rows.shape[0] - top)
        rows[top : top + n] = _BAND[: n + reach, :n].T @ x[top : top + n + reach]
    out = np.empty((rows.shape[0], x.shape[1] - reach))
    for left in range(0, out.shape[1], _STRIP):
        n = min(_STRIP, out.shape[1] - left)
        out[:, left : left + n] = rows[:, left : left + n + reach] @ _BAND[: n + reach, :n]
    return out


def _halve(x: NDArray[np.float64]) -> NDArray[np.float64]:
    h, w = x.shape
    if h % 2 or w % 2:
        x = np.pad(x, ((h % 2, 0), (w % 2, 0)))
    return 0.25 * (x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2])


def _check_pair(a: Pixels, b: Pixels) -> None:
    for x in (a, b):
        if x.dtype != np.uint8 or not (x.ndim == 2 or (x.ndim == 3 and x.shape[2] == 3)) or x.size == 0:
            raise MeasureError(
                f"Cannot compare {x.dtype} pixels of shape {x.shape}: "
                "pictures are uint8 [h, w] or [h, w, 3]. Convert them first."
            )
    if a.shape != b.shape:
        raise MeasureError(
            f"Cannot compare pictures of shapes {a.shape} and {b.shape}: "
            "the measures are defined on equal shapes. Crop or decode both to one size."
        )
