"""`python -m data_prep score DATA --model M -o F.parquet`: the verb of `lhrs-chat score`, before `select`."""

from __future__ import annotations

from lhrs_chat.commands.score import COMMAND

from . import Verb

VERB = Verb(COMMAND.help, COMMAND.arguments, COMMAND.run)
