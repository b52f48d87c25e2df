"""`python -m training RECIPE [a.b=c ...]`: run one stage; it resumes by itself where it was stopped."""

from __future__ import annotations

import argparse
import logging
import sys

from lhrs_chat.errors import LhrsError

from .recipe import load_recipe, recipe_names


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Run one stage of training.")
    parser.add_argument("recipe", help=f"a recipe ({', '.join(recipe_names())}) or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="fields of the recipe to set")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        recipe = load_recipe(args.recipe, args.overrides)
        from .loop import run  # torch is loaded only when there is something to run

        out = run(recipe)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write(f"trained parts are in {out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
