"""Make test sets of radio galaxies that no recipe was chosen by: surveys of their own, as folders of PNG and a card.

``python benchmarks/radio_test_sets.py uncertain MIRABEST OUT`` takes a store of the batches of MiraBest and writes the
sources whose class the experts were not sure of, all of them test; the labels come from ``mirabest``.

``python benchmarks/radio_test_sets.py first-rgd MIRABEST OUT --first-rgd STORE`` writes the FRI and FRII of first-rgd:
those within 60 arcsec of a source of MiraBest are for training, all others test.

Each writes pictures, a table and a card, whose folder goes into ``ASTROFM_SURVEYS``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from astrofm import plugins
from astrofm.data.crossmatch import near
from astrofm.data.store import CutoutStore

NEAR_ARCSEC = 60.0


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", choices=["uncertain", "first-rgd"])
    parser.add_argument("mirabest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first-rgd", type=Path)
    given = parser.parse_args()
    mirabest = CutoutStore.open(given.mirabest)
    if given.sources == "uncertain":
        rows = _rows_of("mirabest", "fr-uncertain", mirabest)
        card = _card("mirabest", "batches", "fr-uncertain", "mirabest-uncertain") | {
            "title": "MiraBest: the sources whose Fanaroff-Riley class the experts were not sure of",
            "splits": {"scheme": "published", "how": "every source is test"},
            "transfer": {"train": "mirabest", "test": "mirabest-uncertain"},
        }
        _write(given.out, mirabest, rows, np.full(len(rows), "test"), card)
    else:
        store = CutoutStore.open(given.first_rgd)
        rows = _rows_of("first-rgd", "fr", store)
        is_near = near(*_position(store, rows), *_position(mirabest), NEAR_ARCSEC)
        card = _card("first-rgd", "images", "fr", "first-rgd-new") | {
            "title": "FRI and FRII of the FIRST radio galaxy dataset: those of MiraBest for training, the others test",
            "splits": {"scheme": "published", "how": "test: no source of MiraBest within 60 arcsec; train: the others"},
        }
        _write(given.out, store, rows, np.where(is_near, "train", "test"), card)


def _rows_of(survey: str, task: str, store: CutoutStore) -> NDArray[np.int64]:
    """Return the rows of a store that have a class of a task."""
    classes = next(each for each in plugins.survey(survey).card.tasks if each.name == task).classes
    labels = store.catalog.column("label").astype(int)
    return np.flatnonzero(np.isin(labels, [label for values in classes.values() for label in values]))


def _position(store: CutoutStore, rows: NDArray[np.int64] | slice = slice(None)) -> tuple[NDArray[Any], NDArray[Any]]:
    return store.catalog.column("ra")[rows], store.catalog.column("dec")[rows]


def _card(survey: str, product: str, task: str, name: str) -> dict[str, Any]:
    """Return the card of a survey with PNG for its product and one task.

    The task has a name that MiraBest has not, so that labels from there are of its first task, the Confident sources.
    """
    card = plugins.survey(survey).card.model_dump(mode="json", exclude_unset=True)
    for key in ("archive", "excluded", "stretches"):
        card.pop(key, None)
    pictures = card["products"][product] | {"pattern": "pictures/*.png", "unit": "8-bit"}
    return card | {
        "name": name,
        "products": {"png": pictures},
        "tasks": [one | {"name": "fr"} for one in card["tasks"] if one["name"] == task],
        "folder": {"images": "pictures/*.png", "table": "sources.csv"},
    }


def _write(
    out: Path, store: CutoutStore, rows: NDArray[np.int64], splits: NDArray[np.str_], card: dict[str, Any]
) -> None:
    """Write pictures, table and card."""
    (out / "pictures").mkdir(parents=True)
    ids, ra, dec, labels = (store.catalog.column(name)[rows] for name in ("id_str", "ra", "dec", "label"))
    for name, image in zip(ids, store.read(rows)[:, 0], strict=True):
        Image.fromarray(image[::-1]).save(out / "pictures" / f"{name}.png")  # row 0 of a picture is the North
    with (out / "sources.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id_str", "ra", "dec", "label", "split"])
        table.writerows(zip(ids, ra, dec, labels.astype(int), splits, strict=True))
    (out / f"{card['name']}.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    print(f"{len(rows)} sources in {out}, {np.count_nonzero(splits == 'test')} of them test")


if __name__ == "__main__":
    main()
