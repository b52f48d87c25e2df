"""`python -m training RECIPE [a.b=c ...]`: run a recipe or a curriculum; it goes on by itself where it was stopped.

`python -m training show-mask RECIPE [a.b=c ...]` prints what is learned of the first rows, and trains nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from lhrs_chat.errors import LhrsError

from .curriculum import load
from .recipe import recipe_names

SHOW_MASK = "show-mask"
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    showing = words[:1] == [SHOW_MASK]
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=f"Run the stages of a recipe. `{SHOW_MASK} RECIPE` prints what is learned of its first rows.",
    )
    parser.add_argument("recipe", help=f"a recipe ({', '.join(recipe_names())}) or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="fields of the recipe to set; STAGE.a.b=c of one")
    args = parser.parse_args(words[1:] if showing else words)
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING  # one process tells for all
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        recipes = load(args.recipe, args.overrides)
        from lhrs_chat.models import torchvision_guard  # torch is loaded only when there is something to run

        torchvision_guard.install()
        from . import loop, show_mask

        if showing:
            sys.stdout.write(show_mask.shown(recipes[0]))
            return 0
        for recipe in recipes:
            if len(recipes) > 1 and loop.is_finished(recipe):
                log.info("%s is finished, skipped", recipe.out)
                continue
            loop.run(recipe)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write(f"trained parts are in {recipes[-1].out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
