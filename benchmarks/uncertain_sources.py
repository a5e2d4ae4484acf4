"""Make the sources of MiraBest whose class the experts were not sure of a survey of their own, all of it test.

``python benchmarks/uncertain_sources.py STORE OUT`` takes a store of the batches of MiraBest and writes a folder: PNG
pictures, a table and the card ``mirabest-uncertain.yaml``. No recipe was chosen by these sources, and they are almost
four times as many as those of the published test split.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from astrofm import plugins
from astrofm.data.store import CutoutStore

NAME = "mirabest-uncertain"
TASK = "fr-uncertain"


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    store = CutoutStore.open(given.store)
    task = next(task for task in plugins.survey("mirabest").card.tasks if task.name == TASK)
    labels = store.catalog.column("label").astype(int)
    rows = np.flatnonzero(np.isin(labels, [label for values in task.classes.values() for label in values]))
    (given.out / "pictures").mkdir(parents=True)
    ra, dec, ids = (store.catalog.column(name)[rows] for name in ("ra", "dec", "id_str"))
    for name, image in zip(ids, store.read(rows)[:, 0], strict=True):
        Image.fromarray(image[::-1]).save(given.out / "pictures" / f"{name}.png")  # row 0 of a picture is the North
    with (given.out / "sources.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id_str", "ra", "dec", "label", "split"])
        table.writerows([*row, "test"] for row in zip(ids, ra, dec, labels[rows], strict=True))
    (given.out / f"{NAME}.yaml").write_text(yaml.safe_dump(_card(task.name), sort_keys=False))
    print(f"{len(rows)} sources in {given.out}")


def _card(task: str) -> dict[str, Any]:
    """Return the card of MiraBest with other products, no splits of its own and one task."""
    survey = plugins.survey("mirabest")
    card = survey.card.model_dump(mode="json", exclude_unset=True)
    for name in ("archive", "excluded", "stretches"):
        card.pop(name, None)
    product = card["products"]["batches"] | {"pattern": "pictures/*.png"}
    return card | {
        "name": NAME,
        "title": "MiraBest: the sources whose Fanaroff-Riley class the experts were not sure of",
        "products": {"png": product | {"unit": "8-bit"}},
        # Under a name that MiraBest has not, so that the labels come from its first task, the Confident sources.
        "tasks": [one | {"name": "fr"} for one in card["tasks"] if one["name"] == task],
        "splits": {"scheme": "published", "how": "every source is test"},
        "folder": {"images": "pictures/*.png", "table": "sources.csv"},
        "transfer": {"train": "mirabest", "test": NAME},
    }


if __name__ == "__main__":
    main()
