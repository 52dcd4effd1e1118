"""What do the inputs do now that an earlier version got wrong?

    python benchmarks/faults.py FAULTS --gtsrb FOLDER --out OUT [--only NAME ...] [--device cpu]

FAULTS is the folder of the faults, one folder each, with the inputs and `how` it was; FOLDER holds 500 training images of GTSRB, drawn by a
seed, in class folders. Each command runs in a process of its own; what it prints is kept in OUT, and a table (docs/faults.md) goes to
standard output: exit code, verdict, and the first line, which is the refusal or the headline.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

DIGITS = "softmax-hides-backdoor/clean"
RUN = "from rnpc.cli import main; main()"


@dataclass(frozen=True)
class Fault:
    """A command on an input of the folder `name`. `data`: a folder of FAULTS, or `gtsrb`; `before`: what came out of commit 19f316b."""

    name: str
    command: str
    model: str
    data: str = DIGITS
    options: tuple[str, ...] = ()
    before: str = ""


LOGITS, SOFTMAX = (f"softmax-hides-backdoor/dd_mnist_trigger_pattern_all_to_one{end}.onnx" for end in ("_logits", ""))
UNIT = ("--mean", "0", "--std", "1")
UNSEEN = "3, nothing prunable"
FAULTS = (
    Fault("quantised", "inspect", "quantised-message/qdq.onnx", "", before=UNSEEN),
    Fault("quantised, QLinear", "inspect", "quantised-message/qlinear.onnx", "", before=UNSEEN),
    Fault("quantised, dynamic", "inspect", "quantised-message/dynamic.onnx", "", before=UNSEEN),
    Fault("softmax", "harden", SOFTMAX, options=UNIT, before="0, clean (ASR 99.99 % stays)"),
    Fault("softmax, without it", "harden", LOGITS, options=UNIT, before="0, backdoored, label 0 (ASR 2.2 %)"),
    Fault(
        "probe 0..255", "harden", "probe-0-255/dd_mnist_trigger_pattern_all_to_one_logits.onnx",
        before="0, backdoored, taken for 0..255 (CA 99.3 -> 10.1 % as the authors feed it)",
    ),
    Fault("MatMul and Add", "harden", "matmul-crash/model.onnx", options=UNIT, before="70, RuntimeError"),
    Fault("MatMul and Add, GTSRB", "harden", "matmul-crash/gtsrb-matmul.onnx", "gtsrb", before="70, RuntimeError"),
    Fault("dense layers only", "harden", "mlp-crash/sk_mnist_clean.onnx", before="70, ValueError"),
    Fault("sparse weights", "harden", "sparse-crash/model.onnx", "gtsrb", before="70, AttributeError"),
    Fault("unsorted, fp16", "harden", "unsorted-fp16/model.onnx", "gtsrb", before="3, the twin cannot run it (inspect: 0)"),
    Fault(
        "two classes", "harden", "two-classes-next/ch_ppocr_mobile_v2.0_cls_infer.onnx", "two-classes-next/textline",
        ("--size", "48x192"), before="0, backdoored, `next`, 126 channels of a clean model, 454 s",
    ),
)  # fmt: skip


def main() -> int:
    """Run the faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", type=Path, metavar="FAULTS")
    parser.add_argument("--gtsrb", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| fault | command | before | now | first line | s |\n| --- | --- | --- | --- | --- | --- |")
    for fault in FAULTS:
        if not options.only or fault.name in options.only:
            print(row(fault, options), flush=True)
    return 0


def row(fault: Fault, options: argparse.Namespace) -> str:
    """Run one and put it into a line of the table."""
    model, data = options.faults / fault.model, options.gtsrb if fault.data == "gtsrb" else options.faults / fault.data
    out = options.out / f"{fault.name.replace(' ', '-').replace(',', '')}.onnx"
    given = ["--defense-data", str(data)] if fault.data else []
    written = ["-o", str(out)] if fault.command == "harden" else []
    arguments = [fault.command, str(model), *given, *fault.options, *written, "--device", options.device]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    out.with_suffix(".txt").write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    shown = ["rnpc", fault.command, f"../shared/faults/{fault.model}", *shown_data(fault), *fault.options]
    said = done.stdout if done.returncode in (0, 1, 4) else done.stderr
    first = " ".join(line.strip() for line in said.strip().splitlines()[:2]).partition(". ")[0]
    cells = (fault.name, f"`{' '.join(shown)}`", fault.before, str(done.returncode), first.replace("|", "/"), f"{seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def shown_data(fault: Fault) -> list[str]:
    """The data as the table names them."""
    if not fault.data:
        return []
    return ["--defense-data", "gtsrb-500" if fault.data == "gtsrb" else f"../shared/faults/{fault.data}"]


if __name__ == "__main__":
    sys.exit(main())
