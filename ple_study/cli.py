"""The command line: ``ple-study fit | evaluate | predict | export``."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

ABOUT = """\
Multi-task learning on tables: one model, many things to predict.

  fit       train models on a study and compare them, task by task
  evaluate  every metric of a trained model
  predict   a trained model's answers for new rows
  export    a trained model as an ONNX file

A study is journey (real households, 16 tasks), census (99,762 persons, 2 tasks),
bank (16 tasks, truth known), retail (a web shop, 13 tasks), synthetic (2 tasks), or a
.toml file that names a Parquet file of your own. `ple-study fit --help` shows such a
file.
"""
FIT = """\
Train a model on a study and compare it with the other models, over several seeds.

The table has a row a task and a column a model: the mean over seeds of the task's
main metric on the test rows, and half its 95 % interval. The last column is what
the model adds to models of one task each, seed by seed; above zero, it is better.
The model of the first seed is kept in the folder, with results.csv beside it.

With --alone only the named model is trained, with one seed, and saved after every
epoch: if it is stopped, the same command goes on where it was.

examples:
  ple-study fit journey --model ple
  ple-study fit journey --model mmoe --alone --epochs 10
  ple-study fit mine.toml --model ple --seeds 5

mine.toml:
  [data]
  parquet = "customers.parquet"     # beside this file
  ignore = ["id"]                   # neither feature nor label

  [tasks]                           # label columns; empty cells: not observed
  bought = "binary"                 # 0 or 1
  stage = "multiclass"              # 0, 1, 2 ...
  spend = "regression"              # any number, in a unit of its own

  [split]                           # may be left out, as what follows:
  column = "date"                   # then 60 / 20 / 20 % of the rows, at random
  val = 2024-05-01                  # rows before: training
  test = 2024-06-01                 # rows before: validation

  [training]
  epochs = 20

  [weighting]
  spec = "UncertaintyWeightingSpec"

  [models.ple]
  spec = "PLESpec"
  levels = 1
  expert = { spec = "MLPSpec", dims = [64] }
"""
EVALUATE = """\
Print every metric of a trained model, task by task.

example:
  ple-study evaluate runs/journey-ple
"""
PREDICT = """\
Answer every task for new rows: a column a task, or one a class (stage_0, stage_1 ...).

Answers are probabilities, or the value of a regression. Labels are not needed.

example:
  ple-study predict runs/mine-ple new.parquet --to answers.parquet
"""
EXPORT = """\
Write a trained model as an ONNX file with named inputs and any number of rows.

The file takes numbers as they stand in the table, and codes: the place of a value
in its column's vocabulary, counted from one; 0 for a value that it does not know.
The vocabularies are in the file's metadata under "ple_study". Outputs are named by
task: probabilities, or the value of a regression. Needs `pip install
'ple-study[export]'`.

example:
  ple-study export runs/journey-ple --to model.onnx
"""


class _Help(
    argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter
):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    top = _Parser(prog="ple-study", description=ABOUT, formatter_class=_Help)
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, description=about, formatter_class=_Help)

    one = command("fit", FIT)
    one.add_argument(
        "study", help="journey, census, bank, retail, synthetic, or a .toml file"
    )
    one.add_argument("--model", default="ple", help="the model that is kept")
    one.add_argument("--seeds", type=int, default=5, help="seeds a model, from 0")
    one.add_argument("--alone", action="store_true", help="train this model only")
    one.add_argument("--seed", type=int, default=0, help="the seed, with --alone")
    about = "begin anew and replace the model in the folder"
    one.add_argument("--overwrite", action="store_true", help=about)
    own = argparse.SUPPRESS  # the help says where these come from
    one.add_argument("--out", default=own, help="folder (default: runs/STUDY-MODEL)")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    for name, kind in (("epochs", int), ("batch-size", int), ("lr", float)):
        about = "of the training (default: the study's own)"
        one.add_argument(f"--{name}", type=kind, default=own, help=about)
    two = command("evaluate", EVALUATE)
    two.add_argument("folder", help="where `fit` kept the model")
    about = "another study (default: the one of its training)"
    two.add_argument("--study", default=own, help=about)
    parts = ("train", "val", "test")
    two.add_argument("--part", default="test", choices=parts, help="which rows")
    four = command("predict", PREDICT)
    four.add_argument("folder", help="where `fit` kept the model")
    four.add_argument("rows", help="a Parquet file with the model's columns")
    four.add_argument("--to", default="answers.parquet", help="the file to write")
    three = command("export", EXPORT)
    three.add_argument("folder", help="where `fit` kept the model")
    about = "the file (default: model.onnx in the folder)"
    three.add_argument("--to", default=own, help=about)
    three.add_argument("--logits", action="store_true", help="write no probabilities")
    three.add_argument("--scaled", action="store_true", help="take scaled numbers")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 when it went well, 2 after one line on what was wrong."""
    given = parser().parse_args(arguments)
    from ple_study import commands  # so that --help need not wait for torch

    try:
        run = {
            "fit": commands.fit,
            "evaluate": commands.evaluate,
            "predict": commands.predict,
            "export": commands.export,
        }
        run[given.command](given)
    except (ValueError, OSError) as error:
        print(f"ple-study: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
