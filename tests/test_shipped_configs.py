"""Every recipe that is shipped can be run: its parts are registered, their settings valid, its surveys there."""

import math
import re
import shlex
from itertools import pairwise

import pytest
import yaml

from astrofm import plugins
from astrofm.demo import DemoSettings
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.heads.build import HEADS_KEY
from astrofm.home import shipped
from astrofm.parts import resolved
from astrofm.plan import plan_run
from astrofm.pretrain import needed_surveys, pretrain
from astrofm.recipe import Recipe, changed_keys
from astrofm.stores import find_stores
from astrofm.transfer.tasks import find_task
from astrofm.view_sheet import view_sheet

FILES = sorted(shipped("configs").glob("*.yaml"))
RECIPES = [file.stem for file in FILES]


@pytest.fixture(params=RECIPES)
def recipe(request):
    return Recipe.load(request.param)


def test_recipes_are_shipped():
    assert {"byol-quick-radio", "byol-quick-optical"} <= set(RECIPES)


def test_a_recipe_has_the_name_of_its_file():
    for name in RECIPES:
        assert Recipe.load(name).name == name


def test_a_recipe_opens_with_its_command(recipe):
    first = Recipe.find(recipe.name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# astrofm pretrain ")
    words = shlex.split(first.removeprefix("# "))
    surveys = [word for option, word in pairwise(words) if option == "--survey"]
    assert surveys == [choice.name for choice in recipe.data.surveys]
    card = plugins.survey(surveys[0]).card
    served = card.quick_recipe if "--mock" in words else card.recipe
    assert recipe.name in (*words, served)


def test_its_surveys_exist_and_bring_its_channels(recipe):
    for name in needed_surveys(recipe):
        card = plugins.survey(name).card
        assert len(card.band_names) == len(recipe.data.channels)


def test_its_probes_have_a_task(recipe):
    for probe in recipe.probes:
        assert find_task(plugins.survey(probe.survey).card, probe.task).classes


def test_its_views_are_registered_and_can_be_built(recipe):
    for part in recipe.views:
        registered = plugins.view_part(part.name)
        registered.build(registered.config.model_validate(part.settings))


def test_its_encoder_and_objective_can_be_built(recipe):
    config = EncoderConfig.model_validate({"name": recipe.encoder.name, **recipe.encoder.settings})
    assert build_encoder(config, len(recipe.data.channels), seed=0) is not None
    registered = plugins.objective_part(recipe.objective.name)
    registered.config.model_validate(recipe.objective.settings)


def test_all_that_it_leaves_out_can_be_spelt_out_and_read_again(recipe):
    whole = resolved(recipe)
    again = Recipe.parse(yaml.safe_load(whole.to_yaml()), recipe.name)
    assert again == whole == resolved(again)
    registered = plugins.objective_part(recipe.objective.name)
    context = {HEADS_KEY: plugins.head_configs()}
    given, read = (
        registered.config.model_validate(each.objective.settings, context=context) for each in (recipe, again)
    )
    assert given == read


def test_it_starts_on_mock_data_with_views_that_differ_and_a_finite_loss(recipe, tmp_path):
    changes = ["training.batch_size=8", "training.max_steps=2", "training.precision=32-true"]
    recipe = Recipe.load(recipe.name, changes)
    stores = find_stores(needed_surveys(recipe), mock=40)
    sheet = view_sheet(recipe, stores, num=2)
    differences = [found.difference for found in sheet.statistics.values()]  # None: there is one view
    assert all(difference is None or difference > 0.2 for difference in differences)
    assert sheet.problem == ""
    result = pretrain(recipe, stores, tmp_path / "run")
    assert result.step == 2
    assert math.isfinite(result.metrics["loss"])


PUBLISHED = {
    "byol-rgz": {  # rgz-optimal.yml and the code of arXiv 2305.16127; its loss is half of ours
        "data.size_pix": 70,
        "data.field_of_view_arcsec": pytest.approx(70 * 1.8),
        "views.zoom": {"scale": [0.8, 1.0], "ratio": [3 / 4, 4 / 3]},
        "views.jitter": {"brightness": 0.4, "contrast": 0.4, "p": 0.8, "clip": [0.0, 1.0]},
        "views.blur": {"sigma": [0.1, 2.0], "p": 0.1},
        "encoder": {"name": "resnet18", "settings": {"stem": "3x3"}},
        "objective.settings": {"hidden_dim": 512, "out_dim": 256, "tau_start": 0.996, "tau_schedule": "constant"},
        "training.batch_size": 1024,
        "training.max_epochs": 500,
        "training.optimizer.learning_rate": pytest.approx(0.2 * 1024 / 256 / 2),
        "training.optimizer.weight_decay": pytest.approx(1.5e-6 * 2),
        "training.optimizer.warmup_fraction": pytest.approx(10 / 500),
        "training.optimizer.schedule": "cosine",
        "probes.0.every_epochs": 20,
    },
    "hybrid-gz-evo": {  # the code of arXiv 2206.11927
        "views.zoom": {"scale": [0.3, 0.85], "ratio": [0.8, 1.2]},
        "views.jitter": {
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.4,
            "hue": 0.1,
            "p": 0.8,
            "clip": [0.0, 1.0],
        },
        "views.grayscale": {"p": 0.3},
        "encoder.name": "efficientnet_b0",
        "objective.settings.head": {"kind": "votes", "dropout": 0.2, "always_drop": True},
        "objective.settings.hidden_dim": 1024,
        "objective.settings.out_dim": 256,
        "objective.settings.tau_start": 0.99,
        "objective.settings.tau_schedule": "constant",
        "data.size_pix": 128,
        "training.batch_size": 512,
        "training.max_epochs": 400,
    },
    "supervised-votes": {  # defaults of zoobot
        "views.zoom": {"scale": [0.7, 0.8], "ratio": [0.9, 1.1]},
        "encoder.name": "efficientnet_b0",
        "objective.settings.head": {"kind": "votes", "dropout": 0.2, "always_drop": True},
    },
    "spectral-gz1": {  # arXiv 2106.04156 and its code
        "objective.settings": {"hidden_dim": 2048, "out_dim": 1000, "mu": 1.0},
        "training.optimizer.momentum": 0.9,
        "training.optimizer.weight_decay": 5e-4,
    },
    "moco-sdss-redshift": {  # arXiv 2101.04293
        "data.size_pix": 64,
        "data.field_of_view_arcsec": pytest.approx(64 * 0.396),
        "views.shift": {"max_fraction": pytest.approx(7 / 64)},
        "encoder": {"name": "resnet50", "settings": {"stem": "7x7-s1"}},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_the_values_of_its_paper(name):
    given = Recipe.load(name).model_dump(mode="json")
    given["views"] = {part["name"]: part["settings"] for part in given["views"]}
    for key, value in PUBLISHED[name].items():
        found = given
        for step in key.split("."):
            found = found[int(step) if step.isdigit() else step]
        assert found == value, key


def test_the_contrastive_arm_of_the_hybrid_paper_differs_from_the_hybrid_in_the_objective_alone():
    contrastive, hybrid = (Recipe.load(name).model_dump(mode="json") for name in ("byol-gz-evo", "hybrid-gz-evo"))
    assert changed_keys(contrastive, hybrid) == [
        "name",
        "objective.name",
        "objective.settings.head",
        "objective.settings.weight",
    ]


def test_the_recipe_of_radio_galaxy_zoo_trains_on_larger_sources_alone_and_keeps_away_from_mirabest():
    recipe = Recipe.load("byol-rgz", ["training.batch_size=8"])
    stores = find_stores(needed_surveys(recipe), mock=40)
    (feed,) = plan_run(recipe, stores).feeds
    sizes = stores["rgz"].catalog.column("size_arcsec")
    assert sizes.min() < 25.0 <= sizes[feed.rows].min()
    assert sizes[feed.rows].max() / 2 < min(exclusion.radius_arcsec for exclusion in recipe.data.exclude) + 0.1
    assert {exclusion.split for exclusion in recipe.data.exclude} == set(stores["mirabest"].catalog.column("split"))


def test_the_recipes_of_every_card_are_shipped_and_fit_its_bands():
    for survey in plugins.surveys().values():
        for name in (survey.card.recipe, survey.card.quick_recipe):
            assert name in RECIPES, f"{survey.name} names {name!r}"
            assert len(Recipe.load(name).data.channels) == len(survey.card.band_names), survey.name


def test_the_demo_names_surveys_and_recipes_that_exist():
    settings = DemoSettings.shipped()
    assert {plugins.survey(part.survey).card.domain for part in settings.surveys} == {"optical", "radio"}
    for part in settings.surveys:
        recipe = Recipe.load(part.recipe)
        assert len(recipe.data.channels) == len(plugins.survey(part.survey).card.band_names)
        assert part.labels < part.num_objects
        assert recipe.training.batch_size < part.num_objects
        assert find_task(plugins.survey(part.survey).card, None).classes


def test_numbers_in_a_recipe_are_numbers_to_yaml():
    for file in FILES:
        loose = re.findall(r"[:\[, ](\d+e-?\d+)\b", file.read_text(encoding="utf-8"))
        assert not loose, f"{file.name}: YAML reads {loose} as text; write 1.0e-3"
