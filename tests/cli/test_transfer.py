import json
import shutil

import pytest
import yaml

from astrofm import plugins
from astrofm.data.store import CutoutStore
from astrofm.home import home
from astrofm.pretrain import pretrain
from astrofm.recipe import Recipe

ROW = {
    "init",
    "mode",
    "error_mean",
    "error_sem",
    "error_ci95",
    "n_test",
    "difference_to_random",
    "difference_ci95",
}


@pytest.fixture(scope="session")
def run(tmp_path_factory, radio_recipe, radio_store):
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "test-run"
    pretrain(Recipe.parse(radio_recipe, "the test"), {"test-field": CutoutStore.open(radio_store)}, folder)
    return folder


@pytest.fixture
def words(radio_card_folder, radio_store):
    return ["transfer", "--survey", radio_card_folder / "card.yaml", "--store", radio_store, "--labels", 8]


QUICK = ["--mode", "knn", "--seeds", 2]


def test_without_a_model_the_random_rows_are_measured_and_it_says_so_first(astrofm, words):
    ended = astrofm(*words, *QUICK, "--json")
    assert ended.code == 0
    first = ended.stderr.splitlines()[0]
    assert first.startswith("no finished run takes this survey")
    assert "astrofm pretrain --survey test-field" in first
    report = json.loads(ended.stdout)
    assert (report["model"], report["mock"], report["labels"], report["seeds"]) == (None, False, 8, 2)
    (row,) = report["rows"]
    assert row.keys() >= ROW
    assert row["init"] == "random"
    assert row["n_test"] == 12
    assert 0 <= row["error_mean"] <= 1
    assert row["difference_to_random"] is None


def test_with_a_model_a_random_row_stands_beside_each(astrofm, words, run):
    modes = ["--mode", "all", "--seeds", 2, "--set", "epochs=1"]
    report = json.loads(astrofm(*words, *modes, "--model", run, "--json").stdout)
    assert report["model"] == str(run)
    assert [(row["mode"], row["init"]) for row in report["rows"]] == [
        (mode, init) for mode in ("linear", "knn", "finetune") for init in ("pretrained", "random")
    ]
    for row in report["rows"]:
        low, high = row["error_ci95"]
        assert 0 <= low <= row["error_mean"] <= high <= 1
        assert (row["difference_to_random"] is None) == (row["init"] == "random")


def test_the_table_ends_with_the_error_of_one_answer_for_all(astrofm, words, run):
    ended = astrofm(*words, *QUICK, "--model", run)
    last = [line for line in ended.stdout.splitlines() if "│" in line][-1]
    cells = [cell.strip() for cell in last.strip("│").split("│")]
    assert cells in (["always one", "-", "50.00%", "-", "-", "-"], ["always two", "-", "50.00%", "-", "-", "-"])


def test_the_newest_finished_run_is_taken_and_named_first(astrofm, words, run):
    shutil.copytree(run, home() / "runs" / "kept")
    unfinished = shutil.copytree(run, home() / "runs" / "stopped")
    (unfinished / "report.json").unlink()
    ended = astrofm(*words, *QUICK)
    assert ended.code == 0
    assert ended.stderr.splitlines()[0] == f"model: {home() / 'runs' / 'kept'}"
    assert "pretrained" in ended.stdout


def test_a_run_whose_view_the_cutouts_do_not_fill_is_not_taken(astrofm, words, run):
    kept = shutil.copytree(run, home() / "runs" / "wide")
    card = json.loads((kept / "model" / "astrofm.json").read_text())
    card["contract"]["field_of_view_arcsec"] = 90.0  # the cutouts span 48
    (kept / "model" / "astrofm.json").write_text(json.dumps(card))
    ended = astrofm(*words, *QUICK)
    assert ended.code == 0
    assert ended.stderr.startswith("no finished run takes this survey")


def test_the_report_is_written_where_it_is_asked_for(astrofm, words, tmp_path):
    ended = astrofm(*words, *QUICK, "--out", tmp_path / "out", "--json")
    assert json.loads((tmp_path / "out" / "transfer.json").read_text()) == json.loads(ended.stdout)


def test_mock_data_are_called_mock_and_checked_as_all_data_are(astrofm, radio_card_folder, tmp_path):
    words = ["--mock", 40, "--labels", 8, *QUICK]
    ended = astrofm("transfer", "--survey", radio_card_folder / "card.yaml", *words)
    assert ended.code == 1
    assert "standard deviation 8.55" in ended.stderr.splitlines()[-1]
    given = yaml.safe_load((radio_card_folder / "card.yaml").read_text())
    given["products"]["fits"]["input"] = {"mean": [0.0], "std": [7.94e-3]}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(given))
    ended = astrofm("transfer", "--survey", tmp_path / "card.yaml", *words)
    assert ended.code == 0
    assert "the data is mock" in ended.stderr
    assert "(mock data)" in ended.stdout


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--mode", "lienar"], 2, "no mode named lienar; known: linear, knn, finetune, all"),
        (["--task", "blob"], 2, "did you mean 'blobs'?"),
        (["--set", "epoch=3"], 2, "fine-tuning settings: epoch: no such key"),
        (["--labels", 25], 1, "asked for 25 labels; "),
        (["--mode", "linear", "--set", "epochs=3"], 2, "changes fine-tuning, and --mode linear does none"),
        (["--seed", 3], 2, "--seed 3 is the seed of mock archives, and there is no --mock; labels are drawn"),
        (["--device", "gpu"], 2, "no device 'gpu' here; there is cpu"),
        (["--out", __file__], 2, "--out names a folder for transfer.json"),
        (["--train-survey", "nvss"], 1, "no store of 'nvss'"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(astrofm, words, more, code, said):
    ended = astrofm(*words, *more)
    assert (ended.code, ended.stdout) == (code, "")
    assert said in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.fixture
def other_band(tmp_path, write_card, radio_card_folder):
    """The same archive as another survey, of another band, whose labels are those of ``test-field``."""
    bands = [{"name": "OTHER-5GHz", "unit": "Jy/beam", "frequency_hz": 5e9}]
    return write_card(tmp_path / "other.yaml", name="other", bands=bands)


def test_another_band_is_refused_until_it_is_accepted_and_then_recorded(
    astrofm, other_band, radio_card_folder, run, tmp_path
):
    store = tmp_path / "other.zarr"
    astrofm("ingest", "--survey", other_band, "--source", radio_card_folder / "archive", "--out", store)
    words = ["transfer", "--survey", other_band, "--store", store, "--labels", 8, "--model", run, *QUICK]
    ended = astrofm(*words)
    assert ended.code == 1
    assert "accepts TEST-1.4GHz and 'other' brings OTHER-5GHz" in ended.stderr.splitlines()[-1]
    accepted = astrofm(*words, "--adapt-bands", "--json")
    assert accepted.code == 0
    (override,) = json.loads(accepted.stdout)["overrides"]
    assert "OTHER-5GHz" in override
    assert "(accepted by --adapt-bands)" in override


def test_a_card_may_say_whose_labels_serve_it(
    astrofm, radio_card_folder, radio_store, write_field, tmp_path, monkeypatch
):
    given = yaml.safe_load((radio_card_folder / "card.yaml").read_text())
    served = tmp_path / "cards" / "served.yaml"
    served.parent.mkdir()
    served.write_text(yaml.safe_dump(given | {"name": "served", "transfer": {"train": "test-field", "test": "served"}}))
    shutil.copy(radio_card_folder / "card.yaml", served.parent)
    monkeypatch.setenv("ASTROFM_SURVEYS", str(served.parent))
    plugins.forget()
    store = tmp_path / "served.zarr"
    sources = write_field(tmp_path / "archive", [200.0 + index for index in range(36)], [30.0] * 36, ["test"] * 36)
    astrofm("ingest", "--survey", "served", "--source", sources, "--out", store)
    ended = astrofm(
        "transfer", "--survey", "served", "--store", store, "--store", radio_store, "--labels", 8, *QUICK, "--json"
    )
    report = json.loads(ended.stdout)
    assert (report["survey"], report["train_survey"]) == ("served", "test-field")
    assert report["rows"][0]["n_test"] == 36
    assert "trained on 8 test-field labels, tested on 36 served sources" in ended.stderr
