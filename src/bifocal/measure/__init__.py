"""How good a codec is, measured on real files: metrics, BD-rate, peers, benches and pictures of the result.

:mod:`~bifocal.measure.metrics` PSNR and MS-SSIM · :mod:`~bifocal.measure.bdrate` Bjontegaard deltas ·
:mod:`~bifocal.measure.peers` the classical codecs and the search for a size · :mod:`~bifocal.measure.bench`
measurements and their means · :mod:`~bifocal.measure.answers` how long a picture or a label takes ·
:mod:`~bifocal.measure.tables`, :mod:`~bifocal.measure.plot`, :mod:`~bifocal.measure.figure` and
:mod:`~bifocal.measure.explain` to show results · :mod:`~bifocal.measure.demo` what ``make demo`` runs.

Needs NumPy and Pillow only; JPEG XL joins when imagecodecs is installed.
"""

from bifocal.errors import BifocalError


class MeasureError(BifocalError, ValueError):
    """Things that cannot be compared or measured: unequal shapes, curves without a common range, no
    pictures.
    """
