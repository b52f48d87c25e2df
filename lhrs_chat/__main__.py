"""`python -m lhrs_chat` is `lhrs-chat`."""

from __future__ import annotations

import sys

from lhrs_chat.cli import main

if __name__ == "__main__":
    sys.exit(main())
