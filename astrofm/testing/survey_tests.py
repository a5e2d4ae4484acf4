# ruff: noqa: D102 - the name of a test is its sentence
"""What must be true of every survey, as a test class.

A plugin package subclasses it, names its survey, and inherits every test::

    class TestMySurvey(SurveyTests):
        survey = "my-survey"

The tests run on the survey's own mock archive, offline.
"""

from __future__ import annotations

__all__ = ["SurveyTests"]

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from astropy.table import Table

from astrofm import plugins
from astrofm.card import VoteTask
from astrofm.data.catalog import Catalog
from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.synonyms import column_named
from astrofm.data.ingest import ingest
from astrofm.data.labels import check_labels, unanswered
from astrofm.data.splits import assign_splits
from astrofm.data.store import CutoutStore
from astrofm.recipe import Recipe
from astrofm.survey import Source, Survey, find_source
from astrofm.testing.compare import (
    assert_fits_product,
    assert_labels_are_known,
    assert_lies_as_the_card_says,
    assert_on_the_sky,
    assert_same_cutouts,
    assert_splits_are_apart,
    facts_of,
    images_of,
    results_of,
)
from astrofm.views.stretch import Stretch

SEED = 3
SIZE_TOLERANCE = 0.05
"""Relative difference of two sizes on the sky that a card rounds away."""
NUM_READ = 8
"""Rows of a real archive that are read, the first ones."""


class SurveyTests:
    """The contract of a survey; subclass it and set :attr:`survey`."""

    survey: ClassVar[str]
    """Name of a survey that an installed package registers; for a survey without code, the path of its card."""
    example: ClassVar[Path | None] = None
    """A real archive, or a part of one, where there is one."""
    num_mock: ClassVar[int] = 20
    """Objects in the mock archive that most tests share."""

    @pytest.fixture(scope="class")
    @classmethod
    def the_survey(cls) -> Survey:
        """The survey under test, as the user gets it."""
        return plugins.survey(cls.survey)

    @pytest.fixture(scope="class")
    @classmethod
    def mock_path(cls, the_survey: Survey, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A mock archive of :attr:`num_mock` objects."""
        return the_survey.mock(cls.num_mock, SEED, tmp_path_factory.mktemp("mock"))

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, the_survey: Survey, mock_path: Path) -> Source:
        """The mock archive as the first product that fits it."""
        return find_source(the_survey.card, mock_path)

    @pytest.fixture(scope="class")
    @classmethod
    def rows(cls, the_survey: Survey, source: Source) -> Table:
        """The catalogue of the mock archive as the survey returns it."""
        return the_survey.catalog(source)

    @pytest.fixture(scope="class")
    @classmethod
    def catalog(cls, the_survey: Survey, rows: Table) -> Catalog:
        """The same catalogue after synonyms and units are understood and its labels checked."""
        return check_labels(Catalog.from_astropy(rows), the_survey.votes)

    @pytest.fixture(scope="class")
    @classmethod
    def results(cls, the_survey: Survey, source: Source, rows: Table) -> list[Cutout | Rejected]:
        """What the reader gives for each row."""
        return results_of(the_survey, source, rows)

    @property
    def is_a_path(self) -> bool:
        """Whether the survey is given as the file of its card, which has a name of its own."""
        return self.survey.endswith((".yaml", ".yml"))

    @property
    def is_a_card_alone(self) -> bool:
        """Whether no package gives the survey."""
        return self.is_a_path or plugins.survey_owners().get(self.survey, "").startswith("card ")

    # The card

    def test_it_is_found_under_its_name(self, the_survey: Survey) -> None:
        if not self.is_a_path:
            assert the_survey.name == self.survey, f"the card of {self.survey!r} calls itself {the_survey.name!r}"
            assert self.survey in plugins.surveys(), f"no installed package gives the survey {self.survey!r}"

    def test_the_card_says_whom_to_cite_and_what_is_hard(self, the_survey: Survey) -> None:
        card = the_survey.card
        assert "@" in card.citation, "the citation is no BibTeX: it has no @"
        assert "year" in card.citation, "the citation has no year"
        assert len(card.hard) > 20, "'hard' says too little of what is hard about the data"

    def test_its_recipes_exist(self, the_survey: Survey) -> None:
        for name in (the_survey.card.recipe, the_survey.card.quick_recipe):
            assert Recipe.find(name).is_file(), f"the recipe {name!r} of the card is no file"

    def test_the_archive_has_a_licence_and_a_way_to_get_it(self, the_survey: Survey) -> None:
        told = "the card has no 'archive', which says where the data are and under which licence"
        if not the_survey.card.archive and self.is_a_card_alone:
            pytest.skip(f"{told}: give one before you share it")
        assert the_survey.card.archive, told
        for archive in the_survey.card.archive:
            assert archive.licence, f"archive {archive.name!r} has no licence"
            assert archive.url or archive.note, f"archive {archive.name!r} says neither where it is nor how to get it"

    def test_every_fact_has_a_source_or_says_what_would_settle_it(self, the_survey: Survey) -> None:
        card = the_survey.card
        for name, fact in facts_of(card):
            if fact.value is None:
                assert len(fact.unknown) > 10, f"{name} does not say what would settle it"
            else:
                assert fact.source or card.reference, f"{name} has no source, and the card no reference"
        for band in card.bands:
            assert band.source or card.reference, f"band {band.name} has no source, and the card no reference"

    def test_products_fit_the_bands_and_their_constants_say_where_they_were_measured(self, the_survey: Survey) -> None:
        card = the_survey.card
        for name, product in card.products.items():
            num_bands = len(card.bands)
            assert product.shape[0] == num_bands, f"product {name!r} and the card differ in the number of bands"
            for constant, values in (("mean", product.input.mean), ("std", product.input.std)):
                told = f"product {name!r} has {len(values)} values of {constant} for {num_bands} bands"
                assert len(values) in (1, num_bands), told
            if product.input.mean != (0.0,) or product.input.std != (1.0,):
                assert product.input.measured_on, f"mean and std of {name!r} do not say what they were measured on"
            stretch = product.stretch_applied
            assert not stretch or stretch in card.stretches, f"product {name!r}: the card has no stretch {stretch!r}"

    def test_the_field_of_view_is_that_of_a_product(self, the_survey: Survey) -> None:
        card = the_survey.card
        sides = [
            max(product.size_pix) * scale
            for name, product in card.products.items()
            if (scale := card.pixel_scale_of(name)) is not None
        ]
        wanted = card.field_of_view_arcsec.value
        if wanted is None or not sides:
            pytest.skip("the field of view or the pixel scale is not known")
        nearest = min(sides, key=lambda side: abs(side - wanted))
        told = f"a field of view of {wanted:g} arcsec, and the pixels of its products span {nearest:g}"
        assert abs(nearest / wanted - 1.0) < SIZE_TOLERANCE, f"the card says {told}"

    def test_tasks_ask_what_the_labels_can_answer(self, the_survey: Survey) -> None:
        for task in the_survey.card.tasks:
            values = [value for accepted in task.classes.values() for value in accepted]
            assert len(set(values)) == len(values), f"task {task.name!r} puts one value into two classes"
            if isinstance(task, VoteTask):
                assert the_survey.votes is not None, f"task {task.name!r} needs votes, and the card names no schema"
                question = the_survey.votes.question(task.question)
                assert set(values) <= set(question.answers), f"task {task.name!r} names answers nobody could give"

    # The mock archive

    def test_a_mock_says_that_it_is_mock(self, the_survey: Survey, mock_path: Path) -> None:
        folder = mock_path if mock_path.is_dir() else mock_path.parent
        note = json.loads((folder / "MOCK.json").read_text(encoding="utf-8"))
        wanted = {"survey": the_survey.name, "n": self.num_mock, "seed": SEED}
        assert note == wanted, f"MOCK.json says {note} instead of {wanted}"

    def test_ids_are_unique_and_there_is_one_row_for_each_object(self, catalog: Catalog) -> None:
        ids = catalog.column("id_str")
        assert len(set(ids)) == len(ids), f"the {len(ids)} rows of the mock have {len(set(ids))} different ids"
        assert len(ids) == self.num_mock, f"the mock of {self.num_mock} objects has {len(ids)} rows"

    def test_positions_are_on_the_sky(self, catalog: Catalog) -> None:
        assert_on_the_sky(catalog)

    def test_splits_are_train_val_or_test(self, the_survey: Survey, catalog: Catalog) -> None:
        if the_survey.card.splits.scheme != "published":
            return
        splits = assign_splits(catalog, the_survey.card.splits)
        assert_splits_are_apart(catalog, splits)
        found = set(splits.tolist())
        card = the_survey.card
        wanted = {"test"} if card.transfer is not None and card.transfer.train != card.name else {"train", "test"}
        missing = wanted - found if card.tasks else set()
        assert not missing, f"a published split of a survey with tasks has rows of {', '.join(sorted(missing))}"

    def test_labels_are_those_of_the_card(self, the_survey: Survey, catalog: Catalog) -> None:
        assert_labels_are_known(the_survey.card, catalog)

    def test_votes_are_counts(self, the_survey: Survey, catalog: Catalog) -> None:
        if the_survey.votes is None:
            pytest.skip("the card names no vote schema")
        votes = np.stack([catalog.column(column) for column in the_survey.votes.columns])
        assert np.issubdtype(votes.dtype, np.integer), f"votes of the mock are {votes.dtype}: they are whole numbers"
        assert votes.min() >= 0, f"an answer of the mock has {votes.min()} votes"
        assert votes.max() > 0, "nobody voted in the mock"

    def test_object_i_is_the_same_whatever_n(
        self, the_survey: Survey, source: Source, rows: Table, tmp_path: Path
    ) -> None:
        num = max(2, self.num_mock // 3)
        fewer = find_source(the_survey.card, the_survey.mock(num, SEED, tmp_path), source.product_name)
        few = the_survey.catalog(fewer)
        ids, few_ids = (list(map(str, table[column_named(table, "id_str")])) for table in (rows, few))
        places = {name: place for place, name in enumerate(ids)}
        stray = set(few_ids) - set(places)
        assert not stray, f"a mock of {num} objects has some that the one of {self.num_mock} lacks: {sorted(stray)[:3]}"
        same = rows[[places[name] for name in few_ids]]
        for column in few.colnames:
            if not column.startswith("file_"):
                np.testing.assert_array_equal(np.asarray(few[column]), np.asarray(same[column]))
        assert_same_cutouts(results_of(the_survey, fewer, few), results_of(the_survey, source, same))

    def test_another_seed_gives_another_sky(
        self, the_survey: Survey, source: Source, results: list[Cutout | Rejected], tmp_path: Path
    ) -> None:
        other = find_source(
            the_survey.card, the_survey.mock(max(2, self.num_mock // 3), SEED + 1, tmp_path), source.product_name
        )
        images = images_of(results_of(the_survey, other, the_survey.catalog(other)))
        mine = [image.tobytes() for image in images_of(results)]
        same = sum(image.tobytes() in mine for image in images)
        assert not same, f"{same} of {len(images)} images are the same under two seeds"

    # The reader

    def test_there_is_one_result_for_each_row_and_most_are_cutouts(
        self, rows: Table, results: list[Cutout | Rejected]
    ) -> None:
        num = len(images_of(results))
        assert num >= 0.5 * len(rows), f"{num} of {len(rows)} rows of the mock are cutouts: {_reasons(results)}"

    def test_cutouts_are_what_the_product_says(self, source: Source, results: list[Cutout | Rejected]) -> None:
        product = source.product
        for cutout in (result for result in results if isinstance(result, Cutout)):
            assert_fits_product(product, cutout)
            ny, nx = cutout.image.shape[1:]
            is_whole = ny >= product.size_pix[0] and nx >= product.size_pix[1]
            assert is_whole, (
                f"a mock cutout has {ny} x {nx} pixels, and fills the stored size, which is {product.size_pix}"
            )
            assert np.isfinite(cutout.image).any(), "a mock cutout has no finite pixel"
            assert np.nanmax(cutout.image) > np.nanmin(cutout.image), "a mock cutout has one value everywhere"

    def test_a_wcs_has_the_orientation_scale_and_position_of_the_card_and_catalogue(
        self, the_survey: Survey, source: Source, catalog: Catalog, results: list[Cutout | Rejected]
    ) -> None:
        if not any(isinstance(found, Cutout) and found.wcs is not None for found in results):
            pytest.skip("no cutout of the mock has a WCS: orientation, scale and position are taken on trust")
        scale = the_survey.card.pixel_scale_of(source.product_name)
        for cutout, name, ra, dec in zip(results, *map(catalog.column, ("id_str", "ra", "dec")), strict=True):
            if isinstance(cutout, Cutout):
                assert_lies_as_the_card_says(the_survey.card, scale, name, cutout, ra, dec)

    def test_cutouts_come_in_the_order_of_the_rows(
        self, the_survey: Survey, source: Source, rows: Table, results: list[Cutout | Rejected]
    ) -> None:
        places = np.random.default_rng(SEED).permutation(len(rows))[: max(2, len(rows) // 2)]
        again = results_of(the_survey, source, rows[places])
        assert_same_cutouts(again, [results[place] for place in places])

    def test_a_mock_becomes_a_store_that_says_it_is_mock(
        self, the_survey: Survey, mock_path: Path, source: Source, tmp_path: Path
    ) -> None:
        info = ingest(the_survey, mock_path, tmp_path / "mock.zarr")
        num = info["num_cutouts"] + sum(info["rejected"].values())
        assert num == self.num_mock, f"of {self.num_mock} mock objects the store tells of {num}"
        store = CutoutStore.open(tmp_path / "mock.zarr")
        assert store.is_mock, "the store of the mock does not say that it is mock"
        found, wanted = (tuple(store.shape[1:]), store.dtype), (source.product.shape, np.dtype(source.product.dtype))
        assert found == wanted, (
            f"the store has cutouts {found[0]} of {found[1]}, and the product {wanted[0]} of {wanted[1]}"
        )

    def test_the_stretch_finds_the_noise_that_it_needs(
        self, the_survey: Survey, mock_path: Path, source: Source, tmp_path: Path
    ) -> None:
        if not Stretch(source.product.input.stretch).needs_rms:
            pytest.skip("the stretch needs none")
        ingest(the_survey, mock_path, tmp_path / "mock.zarr")
        unknown = int(np.isnan(CutoutStore.open(tmp_path / "mock.zarr").noise()).any(axis=1).sum())
        assert not unknown, f"{unknown} cutouts have no rms: give a column rms, or each cutout meta={{'rms': ...}}"

    # A real archive, where one is named

    @pytest.fixture(scope="class")
    @classmethod
    def real(cls, the_survey: Survey) -> tuple[Source, Table]:
        """The real archive and its catalogue as the survey returns it."""
        if cls.example is None:
            pytest.skip(f"no real example of {the_survey.name} is named")
        source = find_source(the_survey.card, cls.example)
        return source, the_survey.catalog(source)

    def test_a_real_example_can_be_read(self, the_survey: Survey, real: tuple[Source, Table]) -> None:
        source, rows = real
        assert len(rows) > 0, "the catalogue of the example has no row"
        results = results_of(the_survey, source, _not_rejected(rows)[:NUM_READ])
        assert images_of(results), f"none of the first {len(results)} rows is a cutout: {_reasons(results)}"

    def test_ids_positions_and_labels_of_a_real_example_are_right(
        self, the_survey: Survey, real: tuple[Source, Table]
    ) -> None:
        rows = _not_rejected(real[1])
        catalog = check_labels(Catalog.from_astropy(rows), the_survey.votes)
        ids = catalog.column("id_str")
        assert len(ids) == len(set(ids)), "some ids come twice"
        assert_on_the_sky(catalog)
        assert_labels_are_known(the_survey.card, catalog, is_part=True)
        told = unanswered(catalog, the_survey.card)
        assert not told, "; ".join(told)
        assert_splits_are_apart(catalog, assign_splits(catalog, the_survey.card.splits))

    def test_cutouts_of_a_real_example_are_what_the_card_says(
        self, the_survey: Survey, real: tuple[Source, Table]
    ) -> None:
        source, rows = real
        some = _not_rejected(rows)[:NUM_READ]
        catalog = Catalog.from_astropy(some)
        scale = the_survey.card.pixel_scale_of(source.product_name)
        results = results_of(the_survey, source, some)
        for cutout, name, ra, dec in zip(results, *map(catalog.column, ("id_str", "ra", "dec")), strict=True):
            if isinstance(cutout, Cutout):
                assert_fits_product(source.product, cutout)
                assert_lies_as_the_card_says(the_survey.card, scale, name, cutout, ra, dec)


def _not_rejected(rows: Table) -> Table:
    """Return the rows that the catalogue does not reject itself, as it does those without a file."""
    return rows[np.asarray(rows["rejected"]).astype(str) == ""] if "rejected" in rows.colnames else rows


def _reasons(results: list[Cutout | Rejected]) -> str:
    return ", ".join(sorted({result.reason for result in results if isinstance(result, Rejected)}))
