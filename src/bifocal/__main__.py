"""``python -m bifocal`` is the ``bifocal`` command."""

from bifocal.apps.cli.main import run

if __name__ == "__main__":
    run()
