"""The folder of a run: what it refuses, what it keeps whole, and which model it serves."""

import json
import os

import pytest
import torch
import yaml

from astrofm.errors import ContractError, RunError, UnknownNameError
from astrofm.model import ModelCard, read_card, rebuild_encoder
from astrofm.parts import resolved
from astrofm.pretrain import pretrain
from astrofm.run import Run, find_model, newest_finished_run

STORES = {"gz-evo": "0" * 64}


class StopAt:
    def __init__(self, step):
        self.step = step

    def on_step(self, info):
        if info.step == self.step:
            raise RuntimeError("power cut")


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


@pytest.fixture(scope="module")
def finished(tiny_recipe, mock_stores, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("finished") / "run")
    pretrain(tiny_recipe(max_steps=2), mock_stores, run.path)
    return run


@pytest.fixture(scope="module")
def cut_short(tiny_recipe, mock_stores, tmp_path_factory):
    """A run that ended without warning in step 4, after the checkpoint of step 3."""
    run = Run(tmp_path_factory.mktemp("stopped") / "run")
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(tiny_recipe(checkpoint_every_steps=3), mock_stores, run.path, listeners=[StopAt(4)])
    return run


def test_recipe_and_versions_are_written_before_the_first_step(run, tiny_recipe):
    recipe = tiny_recipe()
    run.start(recipe, STORES, resume=False)
    assert run.recipe_file.read_text() == resolved(recipe).to_yaml()
    versions = json.loads((run.path / "versions.json").read_text())
    assert versions["stores"] == STORES
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__


@pytest.mark.parametrize("resume", [True, False])
def test_folder_with_foreign_files_is_refused(run, tiny_recipe, resume):
    run.path.mkdir()
    (run.path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="exists and holds no run: choose another --out"):
        run.start(tiny_recipe(), STORES, resume=resume)
    assert (run.path / "thesis.tex").read_text() == "precious"


def test_file_in_place_of_the_folder_is_refused(run, tiny_recipe):
    run.path.write_text("precious")
    with pytest.raises(RunError, match="exists and holds no run"):
        run.start(tiny_recipe(), STORES, resume=False)


def test_start_that_was_cut_short_can_be_repeated(run, tiny_recipe):
    run.start(tiny_recipe(), STORES, resume=False)
    run.recipe_file.rename(run.recipe_file.with_name("recipe.yaml.partial"))
    run.start(tiny_recipe(), STORES, resume=True)
    assert run.recipe_file.read_text() == resolved(tiny_recipe()).to_yaml()


def test_checkpoint_of_a_run_that_lost_its_recipe_is_not_continued(run, tiny_recipe):
    run.start(tiny_recipe(), STORES, resume=False)
    run.checkpoint.write_bytes(b"weights of another recipe")
    run.recipe_file.unlink()
    with pytest.raises(RunError, match="exists and holds no run"):
        run.start(tiny_recipe(), STORES, resume=True)


def test_empty_folder_is_taken(run, tiny_recipe):
    run.path.mkdir()
    run.start(tiny_recipe(), STORES, resume=False)
    assert run.recipe_file.exists()


def test_run_of_a_version_that_knew_fewer_settings_is_continued(run, tiny_recipe):
    recipe = tiny_recipe()
    run.start(recipe, STORES, resume=False)
    old = yaml.safe_load(run.recipe_file.read_text())
    del old["training"]["compile"], old["training"]["coarse"]
    run.recipe_file.write_text(yaml.safe_dump(old))
    run.start(recipe, STORES, resume=True)
    with pytest.raises(RunError, match=r"started with another recipe \(changed: training\.compile\)"):
        run.start(tiny_recipe(compile=True), STORES, resume=True)


def test_metrics_are_cut_back_and_a_torn_last_line_is_dropped(run):
    run.path.mkdir()
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert [line["step"] for line in run.metrics()] == [1, 2, 3]
    run.cut_metrics(2)
    assert run.metrics_file.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_run_without_metrics_has_none(run):
    assert list(run.metrics()) == []
    assert run.step() == 0


def test_checkpoint_loads_without_running_code(cut_short):
    state = torch.load(cut_short.checkpoint, weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "astrofm_card"} <= state.keys()
    assert ModelCard.model_validate_json(state["astrofm_card"]).step == state["global_step"] == 3


def test_unfinished_checkpoint_is_never_taken_for_a_whole_one(cut_short, tiny_recipe, mock_stores):
    partial = cut_short.checkpoint.with_suffix(".partial")
    partial.write_bytes(cut_short.checkpoint.read_bytes()[:5000])
    assert cut_short.step() == 3
    assert find_model(cut_short.path).card.step == 3
    partial.unlink()


def test_damaged_checkpoint_is_one_sentence(cut_short, run):
    run.checkpoint.parent.mkdir(parents=True)
    for content in (cut_short.checkpoint.read_bytes()[:5000], b"", b"no checkpoint"):
        run.checkpoint.write_bytes(content)
        with pytest.raises(RunError, match=r"last\.ckpt is damaged"):
            run.step()


def test_stopped_run_serves_the_model_of_its_last_checkpoint(cut_short):
    model = find_model(cut_short.path)
    assert (model.card.step, model.card.num_steps, model.card.is_finished) == (3, 12, False)
    weights = torch.load(cut_short.checkpoint, weights_only=True)["state_dict"]
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, weights[f"objective.encoder.{name}"])


def test_finished_run_and_its_model_folder_are_the_same_model(finished):
    of_run, of_folder = find_model(finished.path), find_model(finished.model_folder)
    assert of_run.card == of_folder.card
    for name, value in of_run.encoder.state_dict().items():
        assert torch.equal(value, of_folder.encoder.state_dict()[name])


def test_place_without_model_is_refused(run, tiny_recipe):
    with pytest.raises(RunError, match=r"no folder at .*, where a model was looked for"):
        find_model(run.path)
    run.path.mkdir()
    with pytest.raises(RunError, match="no model or run at"):
        find_model(run.path)
    run.start(tiny_recipe(), STORES, resume=False)
    with pytest.raises(RunError, match="has no checkpoint yet: continue it with --resume"):
        find_model(run.path)


def leave_finished(folder, card, *, at, **changes):
    """Write what a search looks at: the card, and the report with its time."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "astrofm.json").write_text(card.model_copy(update=changes).model_dump_json())
    (folder / "report.json").write_text("{}")
    os.utime(folder / "report.json", (at, at))


def accepts(band, *, is_mock):
    def check(card):
        try:
            card.contract.check_bands("this survey", (band,) * card.contract.num_channels)
        except ContractError:
            return False
        return card.is_mock == is_mock

    return check


def test_report_without_a_model_is_one_sentence(tmp_path):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "report.json").write_text("{}")
    with pytest.raises(RunError, match=r"is no model folder: astrofm\.json is missing"):
        newest_finished_run(lambda card: True, tmp_path)


def test_newest_run_is_chosen_by_contract_and_mock_flag(finished, tmp_path):
    optical = find_model(finished.path).card
    channels = tuple(channel.model_copy(update={"accepts": ("ONE-1.4GHz",)}) for channel in optical.contract.channels)
    radio = optical.model_copy(update={"contract": optical.contract.model_copy(update={"channels": channels})})
    leave_finished(tmp_path / "a-old", radio, at=100)
    leave_finished(tmp_path / "c-new", radio, at=200)
    leave_finished(tmp_path / "b-real", radio, at=300, is_mock=False)
    leave_finished(tmp_path / "d-optical", optical, at=400)
    (tmp_path / "e-unfinished" / "model").mkdir(parents=True)
    (tmp_path / "e-unfinished" / "model" / "astrofm.json").write_text(radio.model_dump_json())
    assert newest_finished_run(accepts("ONE-1.4GHz", is_mock=True), tmp_path) == tmp_path / "c-new"
    assert newest_finished_run(accepts("ONE-1.4GHz", is_mock=False), tmp_path) == tmp_path / "b-real"
    assert newest_finished_run(accepts("OTHER-1.4GHz", is_mock=True), tmp_path) is None
    assert newest_finished_run(lambda card: True, tmp_path / "absent") is None


def test_a_run_whose_encoder_is_of_a_package_that_is_gone_keeps_no_other_from_being_found(finished, tmp_path):
    card = find_model(finished.path).card
    leave_finished(tmp_path / "old", card, at=100)
    leave_finished(tmp_path / "gone", card, at=200, encoder={"name": "of-another-package", "depth": 3}, is_mock=False)
    assert newest_finished_run(lambda found: found.is_mock, tmp_path) == tmp_path / "old"
    with pytest.raises(UnknownNameError, match="no architecture named 'of-another-package'"):
        rebuild_encoder(read_card(tmp_path / "gone" / "model"), {}, "the run")
