from pathlib import Path

import platformdirs
import pytest

from astrofm.home import home, shipped, store_path


def test_home_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path))
    assert home() == tmp_path
    assert store_path("nvss") == tmp_path / "stores" / "nvss.zarr"


def test_a_tilde_is_the_user_s_folder(monkeypatch):
    monkeypatch.setenv("ASTROFM_HOME", "~/sky")
    assert home() == Path.home() / "sky"


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_home_is_in_the_user_s_cache(monkeypatch, value):
    monkeypatch.delenv("ASTROFM_HOME")
    if value is not None:
        monkeypatch.setenv("ASTROFM_HOME", value)
    assert home() == Path(platformdirs.user_cache_dir("astrofm"))


def test_asking_makes_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ASTROFM_HOME", str(tmp_path / "new"))
    store_path("nvss")
    assert not (tmp_path / "new").exists()


def test_cards_and_recipes_are_shipped():
    assert (shipped("surveys") / "nvss.yaml").is_file()
    assert (shipped("configs") / "byol-quick-radio.yaml").is_file()
