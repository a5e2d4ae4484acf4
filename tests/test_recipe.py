import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from astrofm.errors import RecipeError
from astrofm.home import shipped
from astrofm.recipe import Exclusion, Recipe, SurveyChoice, apply_change, changed_keys

GIVEN = {
    "name": "tiny",
    "data": {
        "surveys": ["alpha", {"name": "beta", "splits": ["train", "val"]}],
        "exclude": [{"survey": "alpha", "split": "test", "radius_arcsec": 60}],
        "channels": [{"name": "radio"}],
        "size_pix": 48,
        "field_of_view_arcsec": 126,
    },
    "views": ["rotate", {"name": "zoom", "settings": {"scale": [0.6, 1.0]}}],
    "encoder": "resnet10t",
    "objective": {"name": "byol", "settings": {"tau_start": 0.98}},
    "training": {"batch_size": 32, "max_steps": 200, "optimizer": {"learning_rate": 1e-3}},
    "probes": [{"survey": "alpha"}],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(GIVEN))
    return path


def values(leaf):
    return st.recursive(leaf, lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8)


def test_a_recipe_comes_back_from_what_it_prints(file):
    recipe = Recipe.load(str(file))
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml()), "again") == recipe


def test_what_it_prints_spells_out_every_default(file):
    printed = yaml.safe_load(Recipe.load(str(file)).to_yaml())
    assert printed["training"]["checkpoint_every_steps"] == 100
    assert printed["training"]["optimizer"]["name"] == "adamw"
    assert printed["data"]["surveys"][0] == {"name": "alpha", "splits": ["train"], "weight": None, "limits": {}}
    assert printed["probes"][0]["num_neighbours"] == 20


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "trainning"),
        (("data",), "size_pixels"),
        (("data", "surveys", 1), "split"),
        (("data", "exclude", 0), "radius"),
        (("data", "channels", 0), "accept"),
        (("views", 1), "setting"),
        (("objective",), "options"),
        (("training",), "max_epoch"),
        (("training", "optimizer"), "lr"),
        (("probes", 0), "every"),
    ],
)
def test_a_misspelt_key_is_named_wherever_it_is(tmp_path, place, key):
    faulty = copy.deepcopy(GIVEN)
    section = faulty
    for step in place:
        section = section[step]
    section[key] = 1
    path = tmp_path / "faulty.yaml"
    path.write_text(yaml.safe_dump(faulty))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(str(path))
    assert f"recipe {path}: {'.'.join(map(str, (*place, key)))}: no such key" in str(caught.value)


@pytest.mark.parametrize("key", ["name", "data", "encoder", "training"])
def test_a_missing_section_is_named(tmp_path, key):
    path = tmp_path / "faulty.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in GIVEN.items() if name != key}))
    with pytest.raises(RecipeError, match=f"{key}: is missing and must be given"):
        Recipe.load(str(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("training.max_epoch=3", "training.max_epoch: no such key"),
        ("trainning.max_epochs=3", "trainning: no such key"),
        ("training.optimizer.lr=3", "training.optimizer.lr: no such key"),
        ("training.batch_size=many", "training.batch_size: Input should be a valid integer"),
        ("training.max_steps=null", "give max_epochs or max_steps, else the run never ends"),
        ("training.max_steps", "--set takes key=value"),
        ("=3", "--set takes key=value"),
        ("name.first=3", None),
        ("views.0.settings=3", "'views' is no section of the recipe"),
        ("training.max_steps.deep=3", "'max_steps' is no section of the recipe"),
        ("training.max_steps=[", "the value is not YAML"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_sentence(file, change, sentence):
    with pytest.raises(RecipeError) as caught:
        Recipe.load(str(file), [change])
    assert "\n" not in str(caught.value)
    if sentence is not None:
        assert sentence in str(caught.value)


def test_changes_are_read_as_yaml_and_the_file_is_left_alone(file):
    before = file.read_bytes()
    recipe = Recipe.load(
        str(file),
        [
            "training.optimizer.learning_rate=1e-4",
            "training.max_epochs=3",
            "encoder.settings.stem=3x3",
            "data.size_pix=64",
        ],
    )
    assert recipe.training.optimizer.learning_rate == 1e-4
    assert recipe.training.max_epochs == 3
    assert recipe.encoder.name == "resnet10t"
    assert recipe.encoder.settings == {"stem": "3x3"}
    assert recipe.data.size_pix == 64
    assert file.read_bytes() == before


def test_the_last_of_two_changes_counts(file):
    assert Recipe.load(str(file), ["training.seed=1", "training.seed=2"]).training.seed == 2


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    path = tmp_path / "numbers.yaml"
    text = yaml.safe_dump(GIVEN).replace("learning_rate: 0.001", "learning_rate: 1e-3\n    weight_decay: 5E-2")
    assert "1e-3" in text
    path.write_text(text.replace("radius_arcsec: 60", "radius_arcsec: 6e1"))
    assert isinstance(yaml.safe_load(path.read_text())["training"]["optimizer"]["learning_rate"], str)
    recipe = Recipe.load(str(path))
    assert recipe.training.optimizer.learning_rate == 1e-3
    assert recipe.training.optimizer.weight_decay == 0.05
    assert recipe.data.exclude[0].radius_arcsec == 60


def test_text_that_is_no_number_is_refused(file):
    with pytest.raises(RecipeError, match=r"training\.optimizer\.learning_rate: "):
        Recipe.load(str(file), ["training.optimizer.learning_rate=fast"])


def test_a_run_must_end(tmp_path, file):
    endless = copy.deepcopy(GIVEN)
    del endless["training"]["max_steps"]
    file.write_text(yaml.safe_dump(endless))
    with pytest.raises(RecipeError, match="training: give max_epochs or max_steps"):
        Recipe.load(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=f"no recipe file at {tmp_path / 'none.yaml'}"):
        Recipe.load(str(tmp_path / "none.yaml"))
    with pytest.raises(RecipeError, match=r"no recipe named 'bjol'; shipped: .*byol-quick-radio"):
        Recipe.load("bjol")


def test_a_folder_is_no_recipe(tmp_path):
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    for given_path in (folder, tmp_path):
        with pytest.raises(RecipeError, match="no recipe"):
            Recipe.load(str(given_path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty or not a mapping of sections"),
        (b"# only a comment\n", "is empty or not a mapping of sections"),
        (b"- a\n- b\n", "is empty or not a mapping of sections"),
        (b"data: [\n", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"training:\n", "training: Input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "faulty.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(str(path))
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shipped_recipe_is_found_by_name():
    assert Recipe.find("byol-quick-radio") == shipped("configs") / "byol-quick-radio.yaml"


def test_other_surveys_replace_the_recipe_s_and_those_it_knows_keep_their_splits(file):
    recipe = Recipe.load(str(file), surveys=["gamma", "beta", "gamma"])
    assert recipe.data.surveys == (SurveyChoice(name="gamma"), SurveyChoice(name="beta", splits=("train", "val")))
    assert recipe.data.exclude == (Exclusion(survey="alpha", split="test", radius_arcsec=60),)
    assert Recipe.load(str(file), surveys=[]).data.surveys == Recipe.load(str(file)).data.surveys


@pytest.mark.parametrize("size", [64, 80])
def test_coarse_start_is_coarser(file, size):
    changes = ["data.size_pix=64", f"training.coarse={{size_pix: {size}, fraction: 0.5}}"]
    with pytest.raises(RecipeError, match=f"training.coarse.size_pix is {size}, and must be less than data.size_pix"):
        Recipe.load(str(file), changes)


def test_all_surveys_have_a_weight_or_none(file):
    surveys = "data.surveys=[{name: alpha, weight: 2.0}, {name: beta%s}]"
    assert [choice.weight for choice in Recipe.load(str(file), [surveys % ", weight: 1"]).data.surveys] == [2.0, 1.0]
    with pytest.raises(
        RecipeError, match="data: survey 'beta' has no weight and others do; give each a weight, or none"
    ):
        Recipe.load(str(file), [surveys % ""])
    with pytest.raises(RecipeError, match="labelled_fraction"):
        Recipe.load(str(file), ["data.labelled_fraction=1"])


def test_a_recipe_trains_on_a_survey_once(file):
    twice = copy.deepcopy(GIVEN)
    twice["data"]["surveys"] = ["alpha", {"name": "alpha", "splits": ["val"]}]
    file.write_text(yaml.safe_dump(twice))
    with pytest.raises(RecipeError, match="data: survey 'alpha' is named twice"):
        Recipe.load(str(file))


@given(st.dictionaries(st.sampled_from("abc"), values(st.integers(0, 2))))
def test_a_recipe_does_not_differ_from_itself(given_values):
    assert changed_keys(given_values, copy.deepcopy(given_values)) == []


@given(*(st.dictionaries(st.sampled_from("abc"), values(st.integers(0, 2))) for _ in range(2)))
def test_changed_keys_are_those_and_only_those_that_lead_from_one_to_the_other(old, new):
    changed = changed_keys(old, new)
    assert (changed == []) == (old == new)
    assert changed == changed_keys(new, old)


def test_changed_keys_are_dotted():
    other = copy.deepcopy(GIVEN)
    apply_change(other, "training.optimizer.learning_rate=2e-3")
    apply_change(other, "encoder.name=resnet18")
    other["views"] = ["flip"]
    del other["probes"]
    assert changed_keys(GIVEN, other) == ["encoder", "probes", "training.optimizer.learning_rate", "views"]


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".hidden"])
def test_name_that_is_no_folder_name_is_refused(tiny_recipe, name):
    with pytest.raises(RecipeError, match="name: "):
        Recipe.parse(tiny_recipe().model_dump() | {"name": name}, "here")
