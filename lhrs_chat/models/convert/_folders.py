"""Where the base language model and the tower's configuration lie: a folder, or an id of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from lhrs_chat.errors import WeightsError

_LLM_FILES = ["*.json", "*.safetensors"]
_TOWER_FILES = ["config.json", "preprocessor_config.json"]


def whole_folder_of(llm: str | None) -> Path:
    """Return the folder of a base language model, fetched from the hub where it is none of this machine.

    Raises:
        WeightsError: there is no such model, or it cannot be fetched.
    """
    return _find(llm, "--llm", _LLM_FILES)


def tower_folder(vision: str | None) -> Path:
    """Return the folder of a vision tower's configuration; its weights are in the checkpoint and are not fetched.

    Raises:
        WeightsError: there is no such tower, or it cannot be fetched.
    """
    return _find(vision, "--vision", _TOWER_FILES)


def _find(given: str | None, option: str, files: list[str]) -> Path:
    if given is None:
        raise WeightsError("this system stands on published parts", found=f"no {option}", allowed=f"{option} DIR_OR_ID")
    folder = Path(given).expanduser()
    if folder.is_dir():
        return folder
    if given.count("/") != 1 or given.startswith((".", "/", "~")):
        raise WeightsError(
            f"{option} names no folder", found=given, allowed="a folder, or a Hugging Face id such as owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(given, allow_patterns=files))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{given} could not be had from the Hugging Face hub",
            found=reason,
            next_step=f"check the id and the network (some models ask you to log in), or give a folder as {option}",
        ) from error
