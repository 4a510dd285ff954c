"""The tiny model stands in the place of the shipped ones, so that streams find it by themselves."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bifocal.runtime import model as runtime_model


@pytest.fixture
def tiny_installed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    models = tmp_path_factory.mktemp("installed")
    shutil.copytree(tiny_folder, models / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime_model, "MODELS", models)
        yield
