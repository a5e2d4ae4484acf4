"""The surveys of images keep the contract of every survey, on their mocks and on the real archives at hand."""

import pytest

from astrofm.testing import SurveyTests


class _OnRealData(SurveyTests):
    """A survey whose real archive is among the test data."""

    archive: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _use_the_archive(cls, data_dir):
        cls.example = data_dir / cls.archive


class TestMiraBest(_OnRealData):
    survey = "mirabest"
    archive = "mirabest"
    num_mock = 60  # so that every class of the default task is there


class TestFirstRGD(_OnRealData):
    survey = "first-rgd"
    archive = "first-rgd"


class TestMGCLS(_OnRealData):
    survey = "mgcls"
    archive = "mgcls"


class TestMIGHTEE(SurveyTests):
    survey = "mightee"
    num_mock = 40
