"""`bifocal traffic`: a report of a packed model and of any ONNX file, clear errors, nothing half-written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bifocal.apps.cli.main import run
from tests.hardware.cost.networks import classifier, residual
from tests.tiny_model import build_tiny_model

Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["bifocal", "traffic", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        return int(ended.value.code or 0)

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(2).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).resize((140, 80)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "network.onnx"
    path.write_bytes(residual().SerializeToString())
    return path


def test_any_network_gets_a_report(
    command: Command, network: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert command(network, "--data", picture, "--out", out, "--coders", "raw,symmetric,sparse") == 0
    assert "MiB of activations in place of" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    for text in (
        "<svg",
        "20 pJ a bit",
        "exponential Golomb around the median",
        "What is lost",
        "On the chip",
    ):
        assert text in page
    found = json.loads((out / "traffic.json").read_text())["networks"][0]
    header, *rows = (out / "layers.csv").read_text().splitlines()
    assert len(rows) == len(found["layers"]) == 3 and header.startswith("network,layer,operators,tensor")
    assert found["ways"]["symmetric"]["activation_bytes"] < found["ways"]["raw"]["activation_bytes"]
    assert command(network, "--data", picture, "--out", out, "--coders", "raw") == 2  # it is there already
    assert "exists already. Use --force" in capsys.readouterr().err
    assert command(network, "--data", picture, "--out", out, "--coders", "raw", "--force") == 0


def test_arrays_are_fed_one_by_one(command: Command, tmp_path: Path) -> None:
    network, out = tmp_path / "c.onnx", tmp_path / "report"
    network.write_bytes(classifier().SerializeToString())
    np.savez(tmp_path / "feeds.npz", x=np.random.default_rng(0).random((3, 3, 32, 32), np.float32))
    options = ("--quantiser", "search", "--coders", "symmetric", "--transforms")
    assert command(network, "--data", tmp_path / "feeds.npz", "--out", out, *options) == 0
    found = json.loads((out / "traffic.json").read_text())["networks"][0]
    assert found["passes"] == 3 and found["quality"][1]["what"] == "first label as in float"
    assert found["transform_multiply_adds"] > 0 and "no map" in found["not_tiled"]


def test_a_packed_model_is_measured_both_ways(command: Command, picture: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model, out = build_tiny_model(tmp_path / "tiny"), tmp_path / "report"
    assert command(tmp_path / "tiny", "--data", picture, "--out", out, "--coders", "raw,symmetric") == 0, (
        model
    )
    encoder, decoder = json.loads((out / "traffic.json").read_text())["networks"]
    assert [q["what"] for q in encoder["quality"]] == ["PSNR, dB", "bits a pixel"]
    assert encoder["quality"][0]["float"] == decoder["quality"][0]["float"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--coders", "zip"], 2, "there is no coder 'zip'"),
        (["--quantiser", "odd"], 2, "there is no quantiser 'odd'"),
        (["--bits", "0"], 2, "choose 1 to 15"),
        (["--scale", "huge"], 2, "there is no scale 'huge'"),
        (["--limit", "0"], 2, "both are above 0"),
        (["--quantiser", "search", "--loss", "0"], 2, "an error above 0"),
    ],
)
def test_wrong_options_are_one_message(
    command: Command,
    network: Path,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    out = tmp_path / "report"
    assert command(network, "--data", picture, "--out", out, *arguments) == status
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and not out.exists()


def test_what_cannot_be_measured_leaves_nothing(
    command: Command, network: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    for bad in (tmp_path / "missing.onnx", picture):
        assert command(bad, "--data", picture, "--out", out) in (1, 2)
    assert command(network, "--data", tmp_path / "nothing", "--out", out) == 1
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    assert command(network, "--data", tmp_path / "bad.npz", "--out", out) == 2
    (tmp_path / "file").write_text("a file")
    assert command(network, "--data", picture, "--out", tmp_path / "file") == 2
    assert "Traceback" not in capsys.readouterr().err and not out.exists()
