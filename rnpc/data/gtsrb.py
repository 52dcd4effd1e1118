"""GTSRB, the German Traffic Sign Recognition Benchmark: 43 classes, 39,209 training and 12,630 test images, in the official layout.

    GTSRB/Final_Training/Images/00000/*.ppm    one folder a class
    GTSRB/Final_Test/Images/*.ppm
    GTSRB/Final_Test/GT-final_test.csv         Filename;...;ClassId (also found beside the images or in GTSRB/)

Other image formats and a root that is the folder GTSRB itself are fine. Images are resized to 32 x 32 without cropping to the region
of interest. Training images come in tracks of 30 shots of one sign. Source: Stallkamp et al., "Man vs. computer", Neural Networks 32
(2012).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from rnpc.data.datasets import Arrays, Source, missing
from rnpc.data.stack import images, listed
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

SIZE = Preprocessing(32, 32)
HOME = "https://benchmark.ini.rub.de (GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip, GTSRB_Final_Test_GT.zip)"
EXPECTED = "GTSRB/Final_Training/Images, GTSRB/Final_Test/Images and GT-final_test.csv"
ANSWERS = ("Final_Test/GT-final_test.csv", "Final_Test/Images/GT-final_test.csv", "GT-final_test.csv", "../GT-final_test.csv")
CLASSES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no overtaking", "no overtaking by trucks",
    "priority at next junction", "priority road", "give way", "stop", "no vehicles", "no trucks", "no entry", "danger",
    "curve left", "curve right", "double curve", "bumpy road", "slippery road", "road narrows on the right", "road works",
    "traffic signals", "pedestrians", "children", "bicycles", "ice or snow", "wild animals", "end of all limits",
    "turn right ahead", "turn left ahead", "ahead only", "ahead or right", "ahead or left", "keep right", "keep left",
    "roundabout", "end of no overtaking", "end of no overtaking by trucks",
)  # fmt: skip


def base(root: Path | None) -> Path:
    """The folder GTSRB below (or at) the root."""
    for folder in (root / "GTSRB", root) if root else ():
        if (folder / "Final_Training" / "Images").is_dir() and (folder / "Final_Test" / "Images").is_dir():
            return folder
    raise missing("gtsrb", root, EXPECTED, HOME)


def train_files(root: Path | None) -> list[list[Path]]:
    """The training images of each class."""
    folder = base(root) / "Final_Training" / "Images"
    files = [listed(folder / f"{label:05d}") if (folder / f"{label:05d}").is_dir() else [] for label in range(len(CLASSES))]
    if not all(files):
        raise InputRefused(f"class folder {files.index([]):05d} is missing or empty", where=str(folder), todo=f"get it from {HOME}")
    return files


def answers(root: Path | None) -> Path:
    """The file with the test labels."""
    for name in ANSWERS:
        if (base(root) / name).is_file():
            return base(root) / name
    raise missing("gtsrb", root, "GT-final_test.csv with the column ClassId", HOME)


def find(root: Path | None) -> list[Path]:
    """All files that `decode` reads."""
    return [*(f for files in train_files(root) for f in files), *listed(base(root) / "Final_Test" / "Images"), answers(root)]


def decode(root: Path | None) -> Arrays:
    """The four arrays of the data set; test images in the order of the csv file, matched by name without ending."""
    groups = train_files(root)
    labels = np.concatenate([np.full(len(files), label, np.int64) for label, files in enumerate(groups)])
    by_stem = {f.stem: f for f in listed(base(root) / "Final_Test" / "Images")}
    test, test_labels = [], []
    for stem, label in test_rows(answers(root)):
        if stem not in by_stem:
            raise InputRefused(f"no image for {stem} of {answers(root).name}", where=str(base(root)), todo=f"get it from {HOME}")
        test.append(by_stem[stem])
        test_labels.append(label)
    return images([f for files in groups for f in files], SIZE), labels, images(test, SIZE), np.array(test_labels, np.int64)


def test_rows(file: Path) -> list[tuple[str, int]]:
    """(name without ending, class) of each test image. Raises InputRefused where the columns are not there."""
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text, delimiter=";"))
    try:
        return [(Path(row["Filename"]).stem, int(row["ClassId"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise InputRefused("no columns Filename and ClassId with a class number", where=str(file), todo=f"get it from {HOME}") from error


SOURCE = Source(find, decode, CLASSES, (0.3403, 0.3121, 0.3214), (0.2724, 0.2608, 0.2669), flip=False)
