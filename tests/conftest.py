"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from astrofm import plugins
from astrofm.data.ingest import ingest
from astrofm.data.store import CutoutStore
from astrofm.recipe import Recipe

_BESIDE_THE_PROJECT = Path(__file__).parents[2] / "shared" / "data"

FIELD_SIZE_PIX = 16
FIELD_CARD: dict[str, Any] = {
    "name": "test-field",
    "title": "One or two blobs in noise",
    "domain": "radio",
    "reference": "made for tests",
    "bands": [{"name": "TEST-1.4GHz", "unit": "Jy/beam", "frequency_hz": 1.4e9}],
    "pixel_scale_arcsec": 3.0,
    "field_of_view_arcsec": 3.0 * FIELD_SIZE_PIX,
    "beam": {"value": {"bmaj_arcsec": 9.0, "bmin_arcsec": 9.0}},
    "products": {
        "fits": {
            "pattern": "*.fits",
            "shape": [1, FIELD_SIZE_PIX, FIELD_SIZE_PIX],
            "unit": "Jy/beam",
            "dtype": "float32",
            "input": {"stretch": [{"scale": {"factor": 1000}}]},
        }
    },
    "tasks": [{"name": "blobs", "title": "One or two", "column": "label", "classes": {"one": [0], "two": [1]}}],
    "splits": {"scheme": "published"},
    "citation": "@misc{field, title = {Test field}, year = {2026}}",
    "hard": "Nothing: the sources are bright and alike.",
    "recipe": "byol-quick-radio",
    "quick_recipe": "byol-quick-radio",
    "folder": {"table": "table.csv"},
}


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real test data; skips where it is absent, fails where ASTROFM_REQUIRE_TEST_DATA is set."""
    folder = Path(os.environ.get("ASTROFM_TEST_DATA", _BESIDE_THE_PROJECT))
    if folder.is_dir():
        return folder
    reason = f"no real test data at {folder}; set ASTROFM_TEST_DATA to its folder"
    if os.environ.get("ASTROFM_REQUIRE_TEST_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache folder."""
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def fresh_plugins() -> Iterator[None]:
    """Look for plugins and cards anew, before the test and after it."""
    from astrofm import plugins

    plugins.forget()
    yield
    plugins.forget()


@pytest.fixture(scope="session")
def write_card() -> Callable[..., Path]:
    """Return ``write(path, **changes)``: write the card of a small radio survey without code."""

    def write(path: Path, **changes: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(FIELD_CARD | changes, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def write_field() -> Callable[..., Path]:
    """Return ``write(folder, ra, dec, split, scale=1)``: write a FITS file for each position, and ``table.csv``.

    Source ``i`` has one blob or, for odd ``i``, two; its noise is 1 mJy/beam, times ``scale``.
    """
    from astropy.io import fits

    def write(
        folder: Path, ra: Sequence[float], dec: Sequence[float], split: Sequence[str], scale: float = 1.0
    ) -> Path:
        folder.mkdir(parents=True)
        lines = ["id_str,ra,dec,label,split"]
        for index, place in enumerate(zip(ra, dec, split, strict=True)):
            rng = np.random.default_rng([7, index])
            image = rng.normal(0, 1e-3, (FIELD_SIZE_PIX, FIELD_SIZE_PIX))
            image[7:9, 3:5] += 8e-3
            image[7:9, 11:13] += 8e-3 * (index % 2)
            header = fits.Header({"BUNIT": "Jy/beam"})
            fits.PrimaryHDU((image * scale).astype(">f4"), header).writeto(folder / f"s{index:03d}.fits")
            lines.append(f"s{index:03d},{place[0]!r},{place[1]!r},{index % 2},{place[2]}")
        (folder / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def radio_card_folder(
    tmp_path_factory: pytest.TempPathFactory, write_card: Callable[..., Path], write_field: Callable[..., Path]
) -> Path:
    """Folder with ``card.yaml`` and ``archive/``: 36 sources of ``test-field``, every third in the test split."""
    folder = tmp_path_factory.mktemp("radio")
    write_card(folder / "card.yaml")
    num = 36
    ra = [10.0 + index for index in range(num)]
    write_field(folder / "archive", ra, [-30.0] * num, ["test" if i % 3 == 0 else "train" for i in range(num)])
    return folder


@pytest.fixture(scope="session")
def radio_store(radio_card_folder: Path) -> Path:
    """The store of :func:`radio_card_folder`; tests leave it as it is."""
    from astrofm.data.ingest import ingest
    from astrofm.survey import Survey

    path = radio_card_folder / "field.zarr"
    ingest(Survey.from_yaml(radio_card_folder / "card.yaml"), radio_card_folder / "archive", path)
    return path


@pytest.fixture(scope="session")
def radio_recipe(radio_card_folder: Path) -> dict[str, Any]:
    """A recipe for ``test-field``, as plain values: two steps of a small network."""
    return {
        "name": "test-run",
        "data": {
            "surveys": [str(radio_card_folder / "card.yaml")],
            "channels": [{"name": "radio-continuum"}],
            "size_pix": 32,
            "field_of_view_arcsec": "unknown",
        },
        "views": ["rotate", "flip"],
        "encoder": {"name": "resnet10t"},
        "objective": {"name": "byol", "settings": {"hidden_dim": 16, "out_dim": 8}},
        "training": {"batch_size": 8, "max_steps": 2, "optimizer": {"learning_rate": 1e-3}},
    }


@pytest.fixture(scope="session")
def mock_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CutoutStore]:
    """Stores of small mock archives, two radio surveys and an optical one, by survey."""
    folder = tmp_path_factory.mktemp("mock-stores")
    stores = {}
    for name, num in (("mirabest", 60), ("mightee", 40), ("gz-evo", 48)):
        survey = plugins.survey(name)
        ingest(survey, survey.mock(num, 0, folder / name), folder / f"{name}.zarr")
        stores[name] = CutoutStore.open(folder / f"{name}.zarr")
    return stores


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """Return a function that makes a recipe for a network of seconds; it takes settings of the training section."""

    def make(survey: str = "gz-evo", probes: tuple[dict[str, Any], ...] = (), **training: Any) -> Recipe:
        num_channels = len(plugins.survey(survey).card.bands)
        given = {
            "name": "tiny",
            "data": {
                "surveys": [survey],
                "channels": [{"name": f"channel-{number}"} for number in range(num_channels)],
                "size_pix": 32,
                "field_of_view_arcsec": "unknown",
            },
            "views": ["rotate", "flip", {"name": "jitter", "settings": {"brightness": 0.4, "contrast": 0.4, "p": 0.8}}],
            "encoder": "test_resnet",
            "objective": {"name": "byol", "settings": {"hidden_dim": 32, "out_dim": 16, "tau_start": 0.9}},
            "training": {
                "batch_size": 8,
                "max_steps": 12,
                "optimizer": {"name": "adamw", "learning_rate": 1e-3, "warmup_fraction": 0.2},
                **training,
            },
            "probes": list(probes),
        }
        return Recipe.parse(given, "made for tests")

    return make


@pytest.fixture(scope="session")
def as_installed() -> Callable[[Path], dict[str, str]]:
    """Return ``as_installed(folder)``: write a package's metadata as pip would, return the environment of its user."""

    def install(folder: Path) -> dict[str, str]:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
        points = "\n".join(f"{name} = {module}" for name, module in project["entry-points"]["astrofm"].items())
        (metadata / "entry_points.txt").write_text(f"[astrofm]\n{points}\n")
        return os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}

    return install


@pytest.fixture
def start_web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Return a function that starts an HTTP server on this machine, whose faults the test chooses: see ``web.py``."""
    spec = importlib.util.spec_from_file_location("astrofm_tests_web", Path(__file__).with_name("web.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with ExitStack() as servers:
        yield lambda: servers.enter_context(module.serving())


@pytest.fixture
def web(start_web: Callable[[], Any]) -> Any:
    """An HTTP server on this machine."""
    return start_web()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between tries of a download, which nobody waits."""
    from astrofm.data.fetching import web as module

    seconds: list[float] = []
    monkeypatch.setattr(module, "pause", lambda wait, stop: bool(seconds.append(wait)))
    return seconds
