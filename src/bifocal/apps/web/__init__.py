"""``bifocal view``: a page on this machine that shows what the codec does to your pictures."""
