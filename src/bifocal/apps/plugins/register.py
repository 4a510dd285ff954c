"""The two calls that make ``.bfc`` known to other libraries; each imports its library only when called."""

from __future__ import annotations

SUFFIX = ".bfc"
MIME = "image/x-bifocal"


def register_pillow() -> None:
    """Let Pillow open and save ``.bfc``; calling it twice does no harm.

    >>> from PIL import Image
    >>> register_pillow()
    >>> Image.registered_extensions()[".bfc"]
    'BIFOCAL'
    """
    from PIL import Image

    from bifocal.apps.plugins.pillow import FORMAT, BifocalImageFile, accept, save, save_all

    Image.register_open(FORMAT, BifocalImageFile, accept)
    Image.register_save(FORMAT, save)
    Image.register_save_all(FORMAT, save_all)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME)


def register_imageio() -> None:
    """Let imageio read and write ``.bfc``; calling it twice does no harm. Needs ``pip install imageio``.

    >>> import imageio.v3 as iio, numpy
    >>> register_imageio()
    >>> data = iio.imwrite("<bytes>", numpy.full((30, 50, 3), 90, numpy.uint8), extension=".bfc")
    >>> iio.imread(data).shape
    (30, 50, 3)
    """
    from imageio.config import FileExtension, extension_list, known_extensions, known_plugins
    from imageio.config.plugins import PluginConfig

    name = "bifocal"
    others = {key: value for key, value in known_plugins.items() if key != name}
    known_plugins.clear()  # asked first: it looks at four bytes only, while others try everything
    known_plugins[name] = PluginConfig(name, "BifocalPlugin", "bifocal.apps.plugins.imageio")
    known_plugins.update(others)
    if SUFFIX not in known_extensions:
        extension = FileExtension(name="Bifocal stream", extension=SUFFIX, priority=[name])
        extension_list.append(extension)
        known_extensions[SUFFIX] = [extension]
