"""The code of docs/plugins.md runs as it is printed."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pluggy
import pytest
import torch
import yaml

from astrofm import card, forms, hookspecs, survey
from astrofm.data.ingest import ingest
from astrofm.data.supervision import Labels
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
    parts = {"sky_level.py", "uniformity.py", "astrofm_vicreg.py", "ring_profile.py", "redshift_gaussian.py"}
    assert set(BLOCKS) == package | cards | parts | {"label_counts.py", "commands.toml"}


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


def test_the_encoder_sees_rings_and_not_which_way_is_up(tmp_path):
    (part,) = parts_of(imported(written(tmp_path, "ring_profile.py")), "register_encoders")
    encoder = part.build(part.config(num_rings=4, embed_dim=5), 2)
    images = torch.randn(3, 2, 9, 9)
    assert encoder(images).shape == (3, encoder.embed_dim) == (3, 5)
    torch.testing.assert_close(encoder(images.rot90(1, (-2, -1)).flip(-1)), encoder(images))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9), indexing="ij")
    radius = torch.hypot(x, y)
    means = [images[0, 0][(radius >= number / 4) & (radius < (number + 1) / 4)].mean() for number in range(4)]
    torch.testing.assert_close((images.flatten(2) @ encoder._shares(images))[0, 0], torch.stack(means))


def test_the_head_is_the_likelihood_of_a_gaussian(tmp_path):
    (part,) = parts_of(imported(written(tmp_path, "redshift_gaussian.py")), "register_heads")
    config = part.config(kind=part.name)
    assert config.request.kind == "redshift"
    head = config.build(6, Labels("redshift", ("z_spec",)))
    embedding = torch.randn(4, 6, requires_grad=True)
    z_spec = torch.tensor([0.1, torch.nan, 0.3, torch.nan])
    loss, _ = head.measure(embedding, Views((), torch.arange(4), labels={"z_spec": z_spec}), 0)
    mean, sigma = head(embedding).detach()[::2].unbind(dim=1)
    expected = -torch.distributions.Normal(mean, sigma).log_prob(z_spec[::2]).mean() - 0.5 * np.log(2 * np.pi)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert embedding.grad[1::2].abs().max() == 0
    assert embedding.grad[::2].abs().min() > 0


def test_the_command_counts_the_labels_of_a_store(tmp_path, mock_stores, capsys):
    module = imported(written(tmp_path, "label_counts.py"))
    store = mock_stores["mirabest"]
    module.label_counts(store.path)
    counts = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    labels = store.catalog.column("label").tolist()
    assert {int(label): int(count) for label, count in counts.items()} == Counter(labels)
    points = tomllib.loads(BLOCKS["commands.toml"])["project"]["entry-points"]["astrofm.commands"]
    assert points == {"label-counts": f"{module.__name__}:label_counts"}


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
