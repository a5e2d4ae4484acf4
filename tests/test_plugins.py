"""Real modules, real entry points, a real plugin manager; only the list of what is installed is made up."""

import re
import sys
from importlib.metadata import EntryPoint, PathDistribution

import pytest
import torch
from typer.testing import CliRunner

from astrofm import commands as commands_module
from astrofm import plugins
from astrofm.cli.main import app
from astrofm.encoders.build import layer_groups
from astrofm.errors import DataError, PluginError, RecipeError, RunError, UnknownNameError
from astrofm.model import Model
from astrofm.parts import NamedEncoder, checked_settings, named_encoder
from astrofm.pretrain import check_parts, pretrain
from astrofm.recipe import NamedPart
from astrofm.run import find_model
from astrofm.transfer.evaluate import transfer
from astrofm.transfer.finetune import FinetuneConfig

SURVEY_PLUGIN = """
from pathlib import Path
from astrofm import Survey, hookimpl

@hookimpl
def register_surveys(register):
    for card in sorted((Path(__file__).parent / {folder!r}).glob("*.yaml")):
        register(Survey.from_yaml(card))
"""


@pytest.fixture
def install(tmp_path, monkeypatch, fresh_plugins):
    """Return ``install(point, code)``: write a module that an entry point of that name leads to."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASTROFM_SURVEYS", raising=False)
    points = []
    for module in (plugins, commands_module):
        monkeypatch.setattr(module, "entry_points", lambda group: [point for point in points if point.group == group])
    written = []

    def add(point, code, module=None, group="astrofm"):
        module = module or f"stranger_{point}_{len(points)}"
        if code is not None:
            (tmp_path / f"{module.partition(':')[0]}.py").write_text(code)
        points.append(EntryPoint(point, module, group))
        written.append(module.partition(":")[0])
        plugins.forget()

    add.points = points
    yield add
    for module in written:
        sys.modules.pop(module, None)


@pytest.fixture
def survey_plugin(install, tmp_path, write_card):
    """Return ``survey_plugin(point, *names)``: a plugin that registers surveys of these names."""

    def add(point, *names):
        for name in names:
            write_card(tmp_path / f"cards_{point}" / f"{name}.yaml", name=name)
        install(point, SURVEY_PLUGIN.format(folder=f"cards_{point}"))

    return add


def sentences():
    return [problem.sentence for problem in plugins.problems()]


def test_a_plugin_s_surveys_are_found_and_owned(survey_plugin):
    survey_plugin("good", "alpha", "beta")
    assert plugins.problems() == ()
    assert {"alpha", "beta"} <= plugins.surveys().keys()
    assert plugins.survey_owners()["alpha"] == "good"
    assert plugins.survey("beta").name == "beta"


def test_what_is_loaded_is_kept_until_it_is_forgotten(survey_plugin):
    survey_plugin("good", "alpha")
    assert plugins.survey("alpha") is plugins.survey("alpha")
    before = plugins.survey("alpha")
    plugins.forget()
    assert plugins.survey("alpha") is not before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence\\n  for this host')", "RuntimeError: no licence for this host"),
        ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit('go away')", "SystemExit: go away"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_sentence_and_the_others_work(install, survey_plugin, code, said):
    install("broken", code)
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin broken" in sentence
    assert "cannot be imported" in sentence
    assert said in sentence
    assert "\n" not in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_module_that_is_not_there_is_one_sentence(install, survey_plugin):
    install("gone", None, module="nobody_wrote_this")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin gone" in sentence
    assert "nobody_wrote_this" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_misspelt_hook_is_one_sentence_with_the_right_spelling(install, survey_plugin):
    install("typo", "from astrofm import hookimpl\n@hookimpl\ndef register_survey(register):\n    pass\n")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin typo" in sentence
    assert "no hook named 'register_survey'" in sentence
    assert "did you mean 'register_surveys'?" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_a_hook_with_a_wrong_argument_is_one_sentence(install, survey_plugin):
    install("args", "from astrofm import hookimpl\n@hookimpl\ndef register_surveys(add):\n    pass\n")
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin args" in sentence
    assert "'add'" in sentence or "{'add'}" in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_two_plugins_of_one_name_are_named_both(survey_plugin):
    survey_plugin("twin", "alpha")
    survey_plugin("twin", "alpha")
    (sentence,) = sentences()
    assert sentence.startswith(
        "two plugins are named 'twin': stranger_twin_0, which is used, and stranger_twin_1, which"
    )
    assert plugins.survey("alpha").name == "alpha"


def test_no_plugin_can_take_the_core_s_place(survey_plugin):
    survey_plugin("astrofm", "alpha")
    (sentence,) = sentences()
    assert "two plugins are named 'astrofm': astrofm.builtins, which is used, and stranger_astrofm_0" in sentence
    assert plugins.view_part("rotate").name == "rotate"


def test_one_module_under_two_names_is_one_sentence(install, survey_plugin):
    survey_plugin("good", "alpha")
    install("again", None, module="stranger_good_0")
    (sentence,) = sentences()
    assert "stranger_good_0" in sentence
    assert "\n" not in sentence
    assert plugins.survey("alpha").name == "alpha"


def test_two_surveys_of_one_name_fail_on_use_with_both_owners_and_the_others_work(survey_plugin):
    survey_plugin("first", "shared", "alpha")
    survey_plugin("second", "shared", "beta")
    with pytest.raises(PluginError) as caught:
        plugins.survey("shared")
    assert str(caught.value).count("two surveys are named 'shared'") == 1
    assert "first" in str(caught.value)
    assert "second" in str(caught.value)
    assert sentences() == [str(caught.value)]
    assert "shared" not in plugins.surveys()
    assert plugins.survey("alpha").name == "alpha"
    assert plugins.survey("beta").name == "beta"


def test_a_hook_that_fails_keeps_what_it_registered_before(survey_plugin, install, tmp_path, write_card):
    write_card(tmp_path / "cards_half" / "alpha.yaml", name="alpha")
    install("half", SURVEY_PLUGIN.format(folder="cards_half") + "    raise OSError('disk gone')\n")
    (sentence,) = sentences()
    assert sentence == "plugin 'half' failed in register_surveys: OSError: disk gone"
    assert plugins.survey("alpha").name == "alpha"


def test_what_is_registered_must_be_a_part_with_a_name(install, survey_plugin):
    code = "from astrofm import Survey, hookimpl\n@hookimpl\ndef register_surveys(register):\n    register(Survey)\n"
    install("careless", code)
    survey_plugin("good", "alpha")
    (sentence,) = sentences()
    assert "plugin 'careless' failed in register_surveys" in sentence
    assert "which is no survey with a name" in sentence
    assert "alpha" in plugins.surveys()


def test_cards_in_the_working_folder_and_in_named_folders_are_surveys(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "here.yaml", name="here")
    write_card(tmp_path / "elsewhere" / "there.yaml", name="there")
    monkeypatch.setenv("ASTROFM_SURVEYS", "elsewhere")
    plugins.forget()
    assert plugins.problems() == ()
    owners = plugins.survey_owners()
    assert owners["here"] == "card surveys/here.yaml"
    assert owners["there"] == "card elsewhere/there.yaml"


def test_a_shipped_card_is_owned_by_its_file_name(install):
    assert plugins.survey_owners()["nvss"] == "card nvss.yaml"


def test_a_broken_card_is_one_sentence_and_the_others_work(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "here.yaml", name="here")
    write_card(tmp_path / "surveys" / "typo.yaml", name="typo", tilte="x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("ASTROFM_SURVEYS", "more")
    plugins.forget()
    said = sentences()
    assert len(said) == 2
    assert "surveys/typo.yaml: tilte: no such key" in said[0]
    assert "more/binary.yaml" in said[1]
    assert plugins.survey("here").name == "here"


def test_two_cards_of_one_name_clash_and_a_copy_does_not(install, tmp_path, monkeypatch, write_card):
    write_card(tmp_path / "surveys" / "a.yaml", name="same")
    write_card(tmp_path / "more" / "b.yaml", name="same")
    monkeypatch.setenv("ASTROFM_SURVEYS", "more")
    plugins.forget()
    assert plugins.problems() == ()
    assert plugins.survey_owners()["same"] == "card surveys/a.yaml"
    write_card(tmp_path / "more" / "b.yaml", name="same", title="Another")
    plugins.forget()
    with pytest.raises(PluginError, match=r"one from card surveys/a\.yaml, one from card more/b\.yaml"):
        plugins.survey("same")


def test_a_folder_of_cards_that_is_not_there_is_named(install, monkeypatch):
    monkeypatch.setenv("ASTROFM_SURVEYS", "nowhere")
    plugins.forget()
    assert sentences() == ["ASTROFM_SURVEYS names nowhere, which is no folder"]


def test_an_unknown_survey_names_the_known_ones_and_what_was_not_loaded(install, survey_plugin):
    survey_plugin("good", "alpha")
    with pytest.raises(UnknownNameError) as caught:
        plugins.survey("alpah")
    assert "did you mean 'alpha'?" in str(caught.value)
    assert "not loaded" not in str(caught.value)
    install("broken", "raise RuntimeError('no licence')")
    with pytest.raises(UnknownNameError, match="not loaded: plugin broken"):
        plugins.survey("alpah")


def test_a_path_names_a_card(install, tmp_path, write_card):
    assert plugins.survey(str(write_card(tmp_path / "mine.yaml"))).name == "test-field"
    with pytest.raises(RecipeError, match=r"no survey card at none\.yaml"):
        plugins.survey("none.yaml")


def test_unknown_views_and_objectives_name_the_known_ones(install):
    with pytest.raises(UnknownNameError, match="did you mean 'rotate'"):
        plugins.view_part("rotaet")
    with pytest.raises(UnknownNameError, match="no objective named 'byo'"):
        plugins.objective_part("byo")


@pytest.fixture
def made_for(install, tmp_path):
    """Return ``made_for(point, requirement)``: a plugin whose installed package names what it needs."""

    def add(point, requirement):
        install(point, "from astrofm import hookimpl\n")
        folder = tmp_path / f"astrofm_{point}-2.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: astrofm-{point}\nVersion: 2.0\nRequires-Dist: {requirement}\n")
        install.points[-1] = install.points[-1]._for(PathDistribution(folder))
        plugins.forget()

    return add


def test_a_plugin_for_another_version_is_one_sentence_and_the_others_work(made_for, survey_plugin):
    survey_plugin("mine", "mine-one")
    made_for("theirs", "astrofm>=99")
    (sentence,) = sentences()
    assert sentence.startswith("plugin theirs (astrofm-theirs) is made for astrofm >=99, and this is ")
    assert "mine-one" in plugins.surveys()
    with pytest.raises(UnknownNameError, match="made for astrofm >=99"):
        plugins.survey("theirs-one")


@pytest.mark.parametrize(
    "requirement",
    ["astrofm", "astrofm>=0.1", "numpy>=99", 'astrofm>=99; extra == "later"', "AstroFM!=99", "old (>=1.0.*)"],
)
def test_a_plugin_for_this_version_is_used(made_for, requirement):
    made_for("theirs", requirement)
    assert sentences() == []


@pytest.fixture
def beside_galaxyzoo(install):
    """As ``install``, with the real plugin of Galaxy Zoo."""
    install.points.append(EntryPoint("galaxyzoo", "astrofm_galaxyzoo", "astrofm"))
    return install


ENCODER_PLUGIN = """
from pydantic import BaseModel
from torch import nn
from astrofm import hookimpl
from astrofm.encoders.base import EncoderPart

class Config(BaseModel):
    model_config = dict(extra="forbid")
    width: int = 3

def build(config, num_channels):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_channels, config.width))
    {embed_dim}
    return network

@hookimpl
def register_encoders(register):
    register(EncoderPart({name!r}, Config, build))
"""
WITH_WIDTH = "network.embed_dim = config.width"


def test_an_encoder_of_a_plugin_is_built_from_its_seed_and_comes_back_from_its_facts(install):
    install("mine", ENCODER_PLUGIN.format(name="mean-colour", embed_dim=WITH_WIDTH))
    encoder = named_encoder(NamedPart(name="mean-colour", settings={"width": 5}))
    assert encoder.facts() == {"name": "mean-colour", "width": 5}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, same, other = (encoder.build(4, seed)[2].weight for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected), "the global generator is left as it was"
    assert first.shape == (5, 4)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    again = NamedEncoder.from_facts(encoder.facts()).build(4)
    assert torch.equal(again[2].weight, first)
    assert [len(group) for group in layer_groups(again)] == [2]


def test_a_model_with_an_encoder_of_a_plugin_is_trained_saved_and_transferred(
    beside_galaxyzoo, tiny_recipe, mock_stores, tmp_path
):
    beside_galaxyzoo("mine", ENCODER_PLUGIN.format(name="mean-colour", embed_dim=WITH_WIDTH))
    recipe = tiny_recipe(max_steps=2).model_copy(update={"encoder": NamedPart(name="mean-colour", settings={})})
    check_parts(recipe)
    pretrain(recipe, mock_stores, tmp_path / "run")
    model = find_model(tmp_path / "run")
    store = mock_stores["gz-evo"]
    config = FinetuneConfig(epochs=1)
    assert transfer(store, store, 8, model=model, seeds=1, finetune_config=config).rows[0].init == "pretrained"
    card = tmp_path / "run" / "model" / "astrofm.json"
    card.write_text(card.read_text().replace('"width"', '"wdith"'))
    with pytest.raises(RunError, match=r"damaged: encoder 'mean-colour' of the recipe: wdith: no such key"):
        Model.load(card.parent)


def test_encoders_that_cannot_be_used_are_one_sentence_each(install):
    install("mute", ENCODER_PLUGIN.format(name="no-width", embed_dim="pass"))
    install("taken", ENCODER_PLUGIN.format(name="resnet18", embed_dim=WITH_WIDTH))
    with pytest.raises(PluginError, match="'no-width' of a plugin gave a Sequential without the attribute embed_dim"):
        named_encoder(NamedPart(name="no-width")).build(1)
    with pytest.raises(PluginError, match="a plugin names its encoder 'resnet18', as timm does one"):
        named_encoder(NamedPart(name="resnet18"))
    with pytest.raises(RecipeError, match="encoder 'no-width' of the recipe: wdith: no such key"):
        named_encoder(NamedPart(name="no-width", settings={"wdith": 3}))
    with pytest.raises(UnknownNameError, match=r"named 'no-wdith'; .*plugins add no-width, orientation-mean, resnet18"):
        named_encoder(NamedPart(name="no-wdith"))
    install("twin", ENCODER_PLUGIN.format(name="no-width", embed_dim="pass"))
    with pytest.raises(PluginError, match=r"two encoders are named 'no-width': one from .*, one from"):
        named_encoder(NamedPart(name="no-width"))
    (problem,) = plugins.part_problems()
    assert "two encoders are named 'no-width'" in problem.sentence


HEAD_PLUGIN = """
from astrofm import hookimpl
from astrofm.heads.base import HeadPart
from astrofm.heads.classes import ClassHead, ClassHeadConfig

class Config(ClassHeadConfig):
    kind: str = "even-classes"
    share: float = 0.5

    def build(self, embed_dim, labels):
        return ClassHead(embed_dim, len(labels.names), self.share)

@hookimpl
def register_heads(register):
    register(HeadPart("even-classes", Config))
"""


def test_a_head_of_a_plugin_serves_the_objectives_that_learn_from_labels(
    beside_galaxyzoo, tiny_recipe, mock_stores, tmp_path
):
    beside_galaxyzoo("mine", HEAD_PLUGIN)
    head = {"kind": "even-classes", "task": "smooth-or-featured", "share": 0.25}
    for name, settings in (("supervised", {}), ("hybrid", {"weight": 1.0, "hidden_dim": 16, "out_dim": 8})):
        objective = NamedPart(name=name, settings={"head": head, **settings})
        recipe = tiny_recipe(max_steps=2).model_copy(update={"objective": objective})
        config = checked_settings(plugins.objective_part(name).config, objective, "objective")
        assert config.request.task == "smooth-or-featured"
        assert config.model_dump()["head"] == {"label_smoothing": 0.0, **head}
        assert pretrain(recipe, mock_stores, tmp_path / name).step == 2


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({"kind": "clases"}, "no head named 'clases'; known: classes, redshift, votes; did you mean 'classes'?"),
        ({"task": "shape"}, "kind is one of votes, classes, redshift"),
        ({"kind": "classes", "tusk": "x", "task": "y"}, "tusk: no such key"),
        ("votes", "head: "),
    ],
)
def test_a_wrong_head_is_one_sentence(install, head, sentence):
    part = plugins.objective_part("supervised")
    with pytest.raises(RecipeError) as caught:
        checked_settings(part.config, NamedPart(name="supervised", settings={"head": head}), "objective")
    assert str(caught.value).startswith("objective 'supervised' of the recipe: head")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


COMMAND_PLUGIN = """
import typer
from astrofm.errors import DataError

def greet(name: str, loudly: bool = False) -> None:
    "Greet somebody."
    if name == "nobody":
        raise DataError("nobody is there")
    typer.echo(f"hello {name}{'!' if loudly else ''}")

group = typer.Typer(help="Several.")
group.command("first")(lambda: typer.echo("one"))
group.command("second")(lambda: typer.echo("two"))
"""


def called(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def commands(install):
    install("greet", COMMAND_PLUGIN, "strange_commands:greet", group="astrofm.commands")
    install("several", None, "strange_commands:group", group="astrofm.commands")
    return install


def test_commands_of_packages_are_listed_without_being_loaded_and_loaded_when_called(commands):
    assert re.search(r"^  greet +Of a package\.$", called("--help").output, re.M)
    assert "strange_commands" not in sys.modules
    assert called("greet", "you", "--loudly").output == "hello you!\n"
    assert "Greet somebody." in called("greet", "--help").output
    assert called("several", "second").output == "two\n"
    assert isinstance(called("greet", "nobody").exception, DataError)
    assert plugins.part_problems(taken_commands=["transfer"]) == ()


def test_commands_that_cannot_be_used_are_one_sentence_each_and_the_others_work(commands):
    commands("transfer", None, "strange_commands:greet", group="astrofm.commands")
    commands("gone", None, "strange_commands:nowhere", group="astrofm.commands")
    commands("greet", None, "strange_commands:group", group="astrofm.commands")
    found = plugins.part_problems(taken_commands=["transfer"])
    assert [problem.sentence for problem in found] == [
        "the command 'gone' (strange_commands:nowhere) cannot be imported: AttributeError: module 'strange_commands' "
        "has no attribute 'nowhere'",
        "two commands are named 'greet': strange_commands:greet and strange_commands:group; uninstall one of the "
        "packages",
        "the command 'transfer' of strange_commands:greet is never called, for astrofm has one of that name: rename it",
    ]
    said = called("doctor")
    assert said.exit_code == 1
    assert isinstance(called("gone").exception, PluginError)
    assert isinstance(called("greet", "you").exception, PluginError)
    assert "--labels" in called("transfer", "--help").output
    assert called("several", "first").output == "one\n"
