"""The code of docs/plugins.md runs as it is printed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pluggy
import pytest
import torch
import yaml

from astrofm import card, forms, hookspecs, survey
from astrofm.data.ingest import ingest
from astrofm.objectives.base import Objective
from astrofm.survey import Survey
from astrofm.views.base import Views

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
BLOCKS = {
    match["name"]: match["body"]
    for match in re.finditer(r"```\w+\n(?P<body># (?P<name>[\w./-]+)\n.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
}
MODELS = {
    "card": card.SurveyCard,
    "product": card.Product,
    "anywhere": (
        card.Band,
        card.Beam,
        card.Archive,
        card.ProductInput,
        card.Splits,
        card.Transfer,
        card.QualityRules,
        forms.Extensions,
        forms.FolderLayout,
        forms.MosaicLayout,
        forms.ArraysLayout,
        forms.PicturesLayout,
        card.ClassTask,
        card.VoteTask,
    ),
}


def written(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(BLOCKS[name], encoding="utf-8")
    return path


def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts_of(module, hook):
    manager = pluggy.PluginManager("astrofm")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    parts = []
    getattr(manager.hook, hook)(register=parts.append)
    return parts


def tables():
    """Keys in the first column of each table of the page."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `") or "|---" in line]
    found = [[]]
    for row in rows:
        if "|---" in row:
            found.append([])
        else:
            found[-1].append(row.split("`")[1])
    return found[1:]


def test_the_page_has_the_blocks_that_it_speaks_of():
    package = {"pyproject.toml", "astrofm_dwarfs/card.yaml", "astrofm_dwarfs/__init__.py", "tests/test_dwarfs.py"}
    cards = {"lofar-field.yaml", "mosaic-field.yaml", "galaxies-h5.yaml", "galaxies-parquet.yaml"}
    assert set(BLOCKS) == package | cards | {"sky_level.py", "uniformity.py", "astrofm_vicreg.py"}


def test_a_survey_without_code_is_under_thirty_lines():
    assert len(BLOCKS["lofar-field.yaml"].splitlines()) < 30


def test_every_key_of_card_and_product_is_explained_and_no_other():
    card, product = tables()
    assert sorted(card) == sorted(MODELS["card"].model_fields)
    assert sorted(product) == sorted(MODELS["product"].model_fields)


@pytest.mark.parametrize("model", MODELS["anywhere"], ids=lambda model: model.__name__)
def test_every_key_of_the_smaller_parts_is_named(model):
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in model.model_fields if f"`{name}`" not in page] == []


def test_keys_are_marked_as_needed_where_they_are():
    page = PAGE.read_text(encoding="utf-8")
    for model in (MODELS["card"], MODELS["product"]):
        for name, field in model.model_fields.items():
            needs = re.search(rf"^\| `{name}` \| (\w+) \|", page, re.M)
            if name not in ("beam", "psf_fwhm_arcsec", "pixel_scale_arcsec"):
                assert (needs[1] == "yes") == field.is_required(), name


def test_the_card_serves_a_folder_of_fits_and_a_table(tmp_path):
    found = Survey.from_yaml(written(tmp_path, "lofar-field.yaml"))
    folder = found.mock(12, 0, tmp_path / "my_field")
    header = (folder / "sources.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "Source_Name,RA,DEC,Class"
    info = ingest(found, folder, tmp_path / "my_field.zarr")
    assert info["num_cutouts"] == 12


def test_the_card_of_mosaics_serves_a_map_and_its_catalogue(tmp_path):
    found = Survey.from_yaml(written(tmp_path, "mosaic-field.yaml"))
    folder = found.mock(40, 0, tmp_path / "my_maps")
    assert sorted(path.name for path in folder.iterdir()) == ["MOCK.json", "catalogue.fits", "fieldmock.fits"]
    info = ingest(found, folder, tmp_path / "my_maps.zarr")
    assert (info["num_cutouts"], info["shape"]) == (40, [40, 1, 64, 64])


@pytest.mark.parametrize(
    ("card_name", "files"),
    [
        ("galaxies-h5.yaml", {"galaxiesmock.h5"}),
        ("galaxies-parquet.yaml", {"test-00000-of-00001.parquet", "train-00000-of-00001.parquet"}),
    ],
)
def test_the_cards_of_arrays_and_pictures_serve_their_files(tmp_path, card_name, files):
    found = Survey.from_yaml(written(tmp_path, card_name))
    folder = found.mock(20, 0, tmp_path / "galaxies")
    assert {path.name for path in folder.rglob("*.*")} == files | {"MOCK.json"}
    info = ingest(found, folder, tmp_path / "galaxies.zarr")
    assert (info["num_cutouts"], info["shape"]) == (20, [20, 3, 64, 64])


def test_the_card_normalises_its_own_mock_as_the_check_before_training_wants(tmp_path):
    found = Survey.from_yaml(written(tmp_path, "lofar-field.yaml"))
    given = next(iter(found.card.products.values())).input
    source = survey.find_source(found.card, found.mock(30, 0, tmp_path / "mock"))
    stretched = []
    for cutout in found.cutouts(source, found.catalog(source)):
        image = np.where(cutout.image <= 3 * cutout.meta["rms"], 0.0, cutout.image)
        stretched.append((image - image.min()) / (image.max() - image.min()))
    pixels = (np.stack(stretched) - given.mean[0]) / given.std[0]
    assert abs(pixels.mean()) < 1
    assert 0.5 < pixels.std() < 2


@pytest.mark.parametrize("name", [name for name in BLOCKS if name.endswith(".yaml")])
def test_cards_name_recipes_that_are_shipped(name):
    from astrofm.recipe import Recipe

    card = yaml.safe_load(BLOCKS[name])
    assert Recipe.find(card["recipe"]).is_file()
    assert Recipe.find(card["quick_recipe"]).is_file()


def test_the_package_passes_its_inherited_tests_once_it_is_installed(tmp_path, as_installed):
    for name in ("pyproject.toml", "astrofm_dwarfs/card.yaml", "astrofm_dwarfs/__init__.py", "tests/test_dwarfs.py"):
        written(tmp_path, name)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"],
        cwd=tmp_path,
        env=as_installed(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sum(int(re.search(rf"(\d+) {outcome}", ran.stdout)[1]) for outcome in ("passed", "skipped")) > 20


def test_the_view_shifts_each_image_by_what_was_drawn(tmp_path):
    (part,) = parts_of(imported(written(tmp_path, "sky_level.py")), "register_views")
    view = part.build(part.config(sigma=0.5))
    parameters = torch.from_numpy(view.draw(np.random.default_rng(0), 4))
    images = torch.zeros(4, 2, 8, 8)
    changed = view.apply(images, parameters)
    assert images.abs().max() == 0
    torch.testing.assert_close(changed, parameters[:, :, None, None].expand(4, 2, 8, 8))
    assert parameters.unique().numel() == 4


def test_the_objective_shown_as_a_whole_package_is_the_tested_one():
    shown = BLOCKS["astrofm_vicreg.py"].removeprefix("# astrofm_vicreg.py\n")
    tested = Path(__file__).parent / "plugins" / "astrofm-vicreg" / "astrofm_vicreg.py"
    assert shown == tested.read_text(encoding="utf-8")


def test_the_objective_is_that_of_the_paper_and_trains(tmp_path):
    (part,) = parts_of(imported(written(tmp_path, "uniformity.py")), "register_objectives")
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6))
    objective = part.build(part.config(projection_dim=4), encoder, 6)
    assert isinstance(objective, Objective)
    first, second = torch.randn(2, 5, 1, 4, 4)
    views = Views((first, second), torch.arange(5))
    result = objective(views, 0)
    z, w = (torch.nn.functional.normalize(objective.projector(encoder(x)), dim=1) for x in (first, second))
    align = sum(((a - b) ** 2).sum() for a, b in zip(z, w, strict=True)) / 5

    def spread(u):
        pairs = [(-2 * ((u[i] - u[j]) ** 2).sum()).exp() for i in range(5) for j in range(i)]
        return torch.stack(pairs).mean().log()

    torch.testing.assert_close(result.loss, align + (spread(z) + spread(w)) / 2)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    result.loss.backward()
    optimizer.step()
    assert objective(views, 1).loss < result.loss
