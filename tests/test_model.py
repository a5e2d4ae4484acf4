"""A model folder: what goes in comes out, and what is wrong with it is one sentence."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from astrofm.contract import Channel, InputContract
from astrofm.encoders.build import EncoderConfig, build_encoder
from astrofm.errors import AstrofmError, RunError
from astrofm.model import Model, ModelCard


@pytest.fixture(scope="module")
def model():
    contract = InputContract(
        channels=(Channel(name="radio", accepts=("TEST-1.4GHz",)),), size_pix=32, field_of_view_arcsec=63.0
    )
    config = EncoderConfig(name="test_resnet")
    card = ModelCard(
        name="tiny",
        contract=contract,
        encoder=config.model_dump(mode="json"),
        objective="byol",
        step=7,
        num_steps=12,
        surveys=("test-field",),
        stores={"test-field": "0" * 64},
        is_mock=True,
        seed=0,
        metrics={"loss": 1.25},
        astrofm_version="0",
    )
    encoder = build_encoder(config, 1, seed=3)
    with torch.no_grad():  # norm layers with statistics of their own, which must be saved too
        encoder.train()(torch.rand(16, 1, 32, 32) + 2.0)
    return Model(encoder.eval(), card)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model", "@misc{field}")
    return tmp_path / "model"


def test_loaded_model_gives_identical_embeddings(model, folder):
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    loaded = Model.load(folder)
    assert loaded.card == model.card
    assert not loaded.encoder.training
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), model.encoder(images))


def test_nothing_in_the_folder_is_a_pickle(folder):
    files = {file.name for file in folder.iterdir()}
    assert files == {"model.safetensors", "config.json", "astrofm.json", "README.md", "CITATION.bib"}
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not content.startswith((b"\x80", b"PK")), file.name  # a pickle, or the zip of pickles of torch.save
    assert load_file(folder / "model.safetensors")


def test_folder_says_what_it_is(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "test_resnet"
    assert config["in_chans"] == 1
    readme = (folder / "README.md").read_text()
    assert "Trained on mock data" in readme
    assert "7 of 12 steps" in readme
    assert (folder / "CITATION.bib").read_text() == "@misc{field}"


def test_saving_leaves_the_network_as_it_is_and_replaces_an_older_model(model, folder):
    before = copy.deepcopy(model.encoder.state_dict())
    newer = Model(model.encoder, model.card.model_copy(update={"step": 12}))
    newer.save(folder)
    assert Model.load(folder).card.step == 12
    assert sorted(entry.name for entry in folder.parent.iterdir()) == ["model"]
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "astrofm.json"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(RunError, match=f"is no model folder: {name} is missing"):
        Model.load(folder)


def test_damaged_weights_are_one_sentence(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"is damaged: [^\n]+$"):
        Model.load(folder)


@pytest.mark.parametrize("change", [{"step": "many"}, {"unheard_of": 1}, {"encoder": {"name": "test_resnet", "x": 1}}])
def test_damaged_card_is_one_sentence(folder, change):
    card = folder / "astrofm.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(RunError, match=r"is damaged: [^\n]+$"):
        Model.load(folder)


def test_weights_of_another_architecture_are_refused(model, folder):
    other = build_encoder(EncoderConfig(name="test_vit", size_pix=32), 1)
    save_file(other.state_dict(), folder / "model.safetensors")
    with pytest.raises(RunError, match="are not those of 'test_resnet'"):
        Model.load(folder)


def test_unknown_architecture_is_refused(folder):
    card = folder / "astrofm.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"encoder": {"name": "no_such_net"}}))
    with pytest.raises(AstrofmError, match="no architecture named 'no_such_net'"):
        Model.load(folder)
