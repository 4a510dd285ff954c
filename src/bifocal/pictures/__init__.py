"""Pictures in and out: Pillow images, arrays and files to :class:`~bifocal.types.Picture` and back."""
