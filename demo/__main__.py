"""`python -m demo`: open the model, then serve the page on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from lhrs_chat import model_options
from lhrs_chat.errors import LhrsError, MissingExtraError


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Chat about remote sensing images in a web browser.")
    model_options.arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        parser.error(f"argument --port: {args.port} is no port, allowed: 0 (a free one) to 65535")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="demo: %(message)s")
    logging.getLogger("lhrs_chat").setLevel(logging.INFO)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        if find_spec("gradio") is None:
            raise MissingExtraError("gradio", "demo", "the browser demo")
        from . import samples, web

        assistant = model_options.open_assistant(args)
        web.serve(web.build(assistant, samples.load()), host=args.host, port=args.port)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
