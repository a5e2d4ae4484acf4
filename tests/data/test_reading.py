"""A reader of a stranger's that fails is one sentence with its own line."""

import numpy as np
import pytest
from astropy.table import Table

from astrofm import Cutout, Survey
from astrofm.data.ingest import ingest
from astrofm.errors import DataError


class Broken(Survey):
    """Fails where it is told to."""

    fails_in = "catalog"

    def catalog(self, source):
        if self.fails_in == "catalog":
            return {}["RA"]
        return Table({"id_str": ["a", "b"], "ra": [1.0, 2.0], "dec": [0.0, 0.0], "split": ["train", "test"]})

    def cutouts(self, source, rows):
        yield Cutout(np.ones((1, 16, 16), np.float32), "Jy/beam")
        raise FileNotFoundError("no index of the cube")


@pytest.mark.parametrize(
    ("method", "said"), [("catalog", "KeyError: 'RA'"), ("cutouts", "FileNotFoundError: no index of the cube")]
)
def test_what_a_reader_fails_with_is_a_sentence_with_its_line(tmp_path, write_card, monkeypatch, method, said):
    monkeypatch.setattr(Broken, "fails_in", method)
    survey = Broken.from_yaml(write_card(tmp_path / "card.yaml", tasks=[]))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.fits").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        ingest(survey, tmp_path / "archive", tmp_path / "out.zarr")
    sentence = str(caught.value)
    assert sentence.startswith(f"the reader of 'test-field' failed in {method}()")
    assert said in sentence
    assert not (tmp_path / "out.zarr").exists()


def test_a_sentence_of_the_reader_s_own_stays_as_it_is(tmp_path, write_card, monkeypatch):
    def refuse(self, source):
        raise DataError("get the index too")

    monkeypatch.setattr(Broken, "catalog", refuse)
    survey = Broken.from_yaml(write_card(tmp_path / "card.yaml"))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.fits").write_bytes(b"")
    with pytest.raises(DataError, match=r"^get the index too$"):
        ingest(survey, tmp_path / "archive", tmp_path / "out.zarr")
