"""The command line. Commands import torch only when they run, so that help is instant.

Every command that computes shows its progress on standard error; with ``--json`` its result is one JSON object on
standard output. Exit code 0: done, 1: failed, 2: wrong usage.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

import convscope
from convscope.cli.ablate import ablate
from convscope.cli.activations import activations
from convscope.cli.annotations import people
from convscope.cli.board import board
from convscope.cli.compare import compare
from convscope.cli.conditions import conditions
from convscope.cli.confusion import confusion
from convscope.cli.convert import convert
from convscope.cli.diorama import diorama
from convscope.cli.directions import directions
from convscope.cli.dissect import dissect
from convscope.cli.evaluate import evaluate
from convscope.cli.explain import explain
from convscope.cli.factors import factors
from convscope.cli.features import features
from convscope.cli.fields import fields
from convscope.cli.figure import figure
from convscope.cli.filters import filters
from convscope.cli.layers import layers
from convscope.cli.localize import localize
from convscope.cli.merge import merge
from convscope.cli.minimal import minimal
from convscope.cli.regions import regions
from convscope.cli.report import report
from convscope.cli.rotation import rotation
from convscope.cli.scan import scan
from convscope.cli.train import train
from convscope.cli.unit import unit
from convscope.cli.zoo import zoo
from convscope.errors import ConvscopeError


class _Commands(click.Group):
    """A group whose commands end with one clear line where something fails that is not the program's fault."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConvscopeError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail("stopped" + _GOES_ON.get(str(ctx.invoked_subcommand), ""))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "; make room" + _GOES_ON.get(str(ctx.invoked_subcommand), "") if full else ""
            _fail(f"{error.strerror or error}{where}{remedy}")
        except RuntimeError as error:
            if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
                raise
            _fail(f"out of memory; give a smaller --batch-size ({str(error).splitlines()[0]})")


_LONG = ("scan", "merge", "dissect", "conditions", "rotation", "fields", "train")
_GOES_ON = dict.fromkeys(_LONG, "; what is done is kept, and the same command goes on from there")


def _fail(message: str) -> None:
    click.echo(f"convscope: {' '.join(message.split())}", err=True)  # one line, also where an error of others has more
    sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(convscope.__version__, prog_name="convscope")
def main() -> None:
    """A microscope for convolutional networks.

    \b
    MODEL     a checkpoint (.safetensors, .pt, .pth, .ckpt) with --arch, an embedded network
              (diorama:objects, diorama:objects-fc, diorama:scenes, digits:lenet5),
              torchvision:resnet50@IMAGENET1K_V2 or timm:resnet18@a1_in1k (without @ the weights are random),
              an architecture of the zoo with random weights (vgg16, alexnet:head=gap,width=0.5;
              `convscope zoo` lists them), or package.module:factory
    IMAGES    a folder (with labels.csv or class subfolders, or without), a .csv, .npy or .npz file,
              Parquet, hub:NAME/SPLIT, digits:train, digits:test, digits:all,
              or the embedded world: diorama:objects/test, diorama:scenes/val and so on
    CONCEPTS  images whose pixels are labelled: the embedded world, a folder of masks, Broden, ADE20K, COCO,
              colours:IMAGES, or of such a set only:object,part:CONCEPTS and shuffled:SEED:CONCEPTS
    ATLAS     the folder that `convscope scan` makes; dissections and measured fields are put into it
    """


main.add_command(layers)
main.add_command(scan)
main.add_command(merge)
main.add_command(report)
main.add_command(dissect)
main.add_command(conditions)
main.add_command(ablate)
main.add_command(rotation)
main.add_command(directions)
main.add_command(fields)
main.add_command(filters)
main.add_command(activations)
main.add_command(unit)
main.add_command(figure)
main.add_command(board)
main.add_command(factors)
main.add_command(features)
main.add_command(regions)
main.add_command(minimal)
main.add_command(confusion)
main.add_command(evaluate)
main.add_command(explain)
main.add_command(localize)
main.add_command(train)
main.add_command(convert)
main.add_command(compare)
main.add_command(people)
main.add_command(diorama)
main.add_command(zoo)
