"""``uprightpose train``: recipe -> weights."""

import os
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from uprightpose.errors import InputError, install


def add(subcommands: Any) -> None:
    """Declare the command."""
    from uprightpose.train.recipe import Recipe

    parser = ArgumentParser(
        usage="uprightpose train RECIPE [--KEY VALUE ...]",
        description="Train by a recipe, stage by stage; called again, it goes on where it stopped.",
    )
    parser.add_argument("--recipe", action="config", help="YAML file; options override its keys")
    parser.add_class_arguments(Recipe, fail_untyped=False, skip={"last"})
    subcommands.add_subcommand("train", parser, help="recipe -> weights")


def run(arguments: Namespace) -> None:
    """Run the command."""
    try:
        from uprightpose.train.run import train
    except ModuleNotFoundError as error:
        raise InputError(f"training needs {error.name}: {install('train')}") from error
    from uprightpose.train.recipe import Recipe

    values = {key: value for key, value in arguments.items() if key != "recipe"}
    weights = train(Recipe(**values))
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":  # one of all processes
        print(f"weights: {weights}")
