"""The page: a conversation at the left, the scene with the regions found in it at the right."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from lhrs_chat import wording
from lhrs_chat.chat import Assistant, ChatSession
from lhrs_chat.errors import GeoError, LhrsError
from lhrs_chat.schema import Answer, Image

from .samples import Scene

FILE_TYPES = [".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg"]
MAX_UPLOAD = "1gb"
TITLE = "lhrs_chat"
LEAD = "Ask about a satellite or aerial image. Answers come with their evidence: regions, measures, and what was seen."
EMPTY = "Pick a sample scene below or attach an image, then ask."
CSS = """
.gradio-container {max-width: 1280px !important; margin: auto !important}
#lead {margin-bottom: -4px}
#lead h1 {font-size: 1.5rem; margin: 0}
#lead p {margin: 2px 0 0; opacity: .8}
#scene img {object-fit: contain; background: #10151c}
#chat .message ul {margin: 6px 0 0; padding-left: 1.1em}
#chat .message li {font-size: .85rem; line-height: 1.4; margin: 0}
#gallery .caption-label {font-size: .68rem; line-height: 1.25; padding: 2px 5px; left: 3px; right: 3px; bottom: 3px;
  max-width: none; white-space: normal}
#gallery .thumbnail-lg {aspect-ratio: 3 / 2}
#seen {font-size: .85rem; line-height: 1.45}
#seen code {font-size: .8rem}
#note {font-size: .85rem; opacity: .85}
#credit {font-size: .8rem; opacity: .75}
"""

History = list[dict[str, Any]]


@dataclass
class Conversation:
    """What one browser session owns: its chat and a folder for its downloads."""

    session: ChatSession
    folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="lhrs-chat-demo-")
    )

    def close(self) -> None:
        """Release the images and the folder."""
        self.session.close()
        self.folder.cleanup()


@dataclass(frozen=True)
class View:
    """What the right side shows: the picture, the words below it, the file to download and a note about it."""

    picture: Any
    seen: str
    download: str | None
    note: str

    def updates(self) -> list[Any]:
        """Values for the components of the right side, in their order."""
        return [
            self.picture,
            self.seen,
            gr.update(value=self.download, interactive=bool(self.download)),
            self.note,
        ]


def build(assistant: Assistant, scenes: list[Scene]) -> gr.Blocks:
    """Lay out the page; every browser session gets a conversation of its own."""
    page: gr.Blocks
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        state = gr.State(None, delete_callback=_close)
        gr.Markdown(f"# {TITLE}\n{LEAD} Model: **{assistant.backend.name}**", elem_id="lead")
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                chat, entry, gallery = _left(scenes)
            with gr.Column(scale=5, min_width=320):
                picture, seen, download, again, note, credit = _right()
        shown = [picture, seen, download, note]

        def on_submit(message: dict[str, Any], history: History, kept: Conversation | None) -> Iterator[list[Any]]:
            yield from answer(assistant, message, history, kept)

        def on_pick(kept: Conversation | None, event: gr.SelectData) -> list[Any]:
            return pick(assistant, scenes[event.index], kept)

        def on_option(history: History, kept: Conversation | None, event: gr.SelectData) -> Iterator[list[Any]]:
            yield from answer(assistant, {"text": event.value}, history, kept)

        def on_again(kept: Conversation | None) -> list[Any]:
            return restart(assistant, kept)

        still: dict[str, Any] = {"show_progress": "hidden"}
        hidden: dict[str, Any] = {**still, "api_visibility": "private"}
        entry.submit(on_submit, [entry, chat, state], [entry, chat, state, *shown], api_name="ask", **still)
        chat.option_select(on_option, [chat, state], [entry, chat, state, *shown], **hidden)
        entry.stop(stop, [state], None, queue=False, **hidden)
        gallery.select(on_pick, [state], [chat, state, credit, *shown], **hidden)
        for event in (again.click, chat.clear):
            event(on_again, [state], [entry, chat, state, credit, *shown], **hidden)
    return page


def _left(scenes: list[Scene]) -> tuple[gr.Chatbot, gr.MultimodalTextbox, gr.Gallery]:
    """The conversation, the line to type in, and the sample scenes."""
    chat = gr.Chatbot(show_label=False, height=400, placeholder=EMPTY, buttons=[], elem_id="chat", allow_tags=False)
    entry = gr.MultimodalTextbox(
        show_label=False,
        placeholder="Where is the water?",
        file_types=FILE_TYPES,
        file_count="multiple",
        sources=["upload"],
        elem_id="entry",
        autofocus=True,
    )
    gallery = gr.Gallery(
        value=[(scene.thumbnail(), scene.title.split(",")[0]) for scene in scenes],
        show_label=False,
        columns=4,
        height=250 if len(scenes) > 4 else 150,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(scenes),
        elem_id="gallery",
    )
    return chat, entry, gallery


def _right() -> tuple[gr.Image, gr.Markdown, gr.DownloadButton, gr.Button, gr.Markdown, gr.Markdown]:
    """The scene with its regions, the words about it, the file to take along, and whose picture it is."""
    picture = gr.Image(
        label="Scene and regions found",
        show_label=False,
        height=400,
        format="png",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="scene",
    )
    seen = gr.Markdown("", elem_id="seen")
    with gr.Row():
        download = gr.DownloadButton("Download GeoJSON", interactive=False, size="sm", elem_id="download")
        again = gr.Button("New conversation", size="sm", elem_id="again")
    return picture, seen, download, again, gr.Markdown("", elem_id="note"), gr.Markdown("", elem_id="credit")


def serve(page: gr.Blocks, *, host: str, port: int, wait: bool = True) -> str:
    """Serve the page without sharing it and without fetching anything from elsewhere; return its address.

    Args:
        page: what `build` made.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        wait: block until interrupted.

    Raises:
        LhrsError: the port is taken.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port or None,
            share=False,
            theme=theme(),
            css=CSS,
            footer_links=[],
            max_file_size=MAX_UPLOAD,
            ssr_mode=False,
            show_error=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise LhrsError("the demo cannot listen there", found=error, next_step="choose another --port") from error
    if wait:
        page.block_thread()
    return str(address)


def theme() -> gr.themes.Base:
    """Return a theme whose fonts are those of the reader's system."""
    return gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def answer(
    assistant: Assistant, message: dict[str, Any], history: History | None, state: Conversation | None
) -> Iterator[list[Any]]:
    """Add the attached images, then stream the answer; errors become messages."""
    conversation = state or Conversation(assistant.session())
    session = conversation.session
    talk: History = list(history or [])
    question = (message.get("text") or "").strip()
    files = [Path(file) for file in message.get("files") or []]
    said = "\n\n".join([*(f"*{file.name}*" for file in files), question]).strip()
    if said:
        talk.append({"role": "user", "content": said})
    busy = gr.update(value=None, submit_btn=False, stop_btn=True)
    idle = gr.update(value=None, submit_btn=True, stop_btn=False)
    keep = [gr.skip()] * 4
    try:
        for file in files:
            session.add_image(file)
        if files:
            keep = view(conversation).updates()
        if not question:
            ask = "What do you want to know about it?" if session.pictures else EMPTY
            yield [idle, [*talk, {"role": "assistant", "content": ask}], conversation, *keep]
            return
        yield [busy, [*talk], conversation, *keep]
        words = ""
        for piece in session.stream(question):
            if isinstance(piece, Answer):
                talk.append({"role": "assistant", "content": spoken(piece, conversation)})
            else:
                words += piece
                partial = {"role": "assistant", "content": _plain(words)}
                yield [busy, [*talk, partial], conversation, *[gr.skip()] * 4]
        yield [idle, talk, conversation, *view(conversation).updates()]
    except LhrsError as error:
        words = friendly(error)
        for file in files:
            words = words.replace(str(file), file.name)  # where the server keeps an upload says nothing to its owner
        yield [idle, [*talk, {"role": "assistant", "content": words}], conversation, *keep]


def stop(state: Conversation | None) -> None:
    """End the answer that is being written."""
    if state is not None:
        state.session.stop()


def pick(assistant: Assistant, scene: Scene, state: Conversation | None) -> list[Any]:
    """Begin a conversation about a sample scene."""
    _close(state)
    conversation = Conversation(assistant.session())
    credit = f"{scene.title}. {scene.credit} ({scene.licence})"
    try:
        conversation.session.add_image(scene.path)
    except LhrsError as error:
        return [[{"role": "assistant", "content": friendly(error)}], conversation, "", None, "", _no_file(), ""]
    content = f"**{scene.title}** is open. What do you want to know about it?"
    hints = [{"label": question, "value": question} for question in scene.questions]
    opening = {"role": "assistant", "content": content, "options": hints}
    return [[opening], conversation, credit, *view(conversation).updates()]


def restart(assistant: Assistant, state: Conversation | None) -> list[Any]:
    """Forget the conversation and its images."""
    _close(state)
    entry = gr.update(value=None, submit_btn=True, stop_btn=False)
    return [entry, [], Conversation(assistant.session()), "", None, "", _no_file(), ""]


def view(conversation: Conversation) -> View:
    """Show the image of the last answer, or the last image, with all regions found on it."""
    session = conversation.session
    unasked = not session.turns or len(session.pictures) - 1 > max(turn.picture for turn in session.turns)
    number = len(session.pictures) - 1 if unasked else session.turns[-1].picture
    picture = session.pictures[number]
    lines = [f"**{_name(picture.image)}**: {wording.picture(picture.image)}"]
    if unasked:
        lines.append(f"Shown: {picture.raster.composite}")
    else:
        lines += [f"{name.capitalize()}: {words}" for name, words in wording.source(session.turns[-1].answer)]
    download, note = _map_file(conversation, number)
    return View(session.overlay(number), "  \n".join(_plain(line) for line in lines), download, note)


def spoken(given: Answer, conversation: Conversation) -> str:
    """Write an answer with its evidence as Markdown."""
    image = conversation.session.pictures[conversation.session.turns[-1].picture].image
    lines = [f"- {name}: {words.replace(chr(10), '; ')}" for name, words in wording.evidence(given, image)]
    return _plain(given.text) + "\n\n" + _plain("\n".join(lines))


def friendly(error: LhrsError) -> str:
    """Write an error as Markdown, what is wrong in bold."""
    what, *rest = [f"{line.strip()[:1].upper()}{line.strip()[1:]}" for line in str(error).splitlines()]
    return "  \n".join([f"**{what}**", *rest])


def _map_file(conversation: Conversation, number: int) -> tuple[str | None, str]:
    """Write the regions found so far as GeoJSON; return the file, or None and why there is none."""
    session = conversation.session
    if session.pictures[number].image.georef is None:
        return None, "No GeoJSON: this image has no georeference, so its regions have no place on the map."
    try:
        features = session.features()
    except GeoError as error:
        return None, f"No GeoJSON: {error.what}."
    count = len(features["features"])
    if not count:
        return None, "GeoJSON can be downloaded as soon as an answer has a region."
    stem = Path(_name(session.pictures[number].image)).stem
    path = Path(conversation.folder.name) / f"{stem}_regions.geojson"
    path.write_text(json.dumps(features, allow_nan=False), encoding="utf-8")
    return str(path), f"{count} region{'' if count == 1 else 's'} in WGS84 longitude and latitude."


def _name(image: Image) -> str:
    return Path(image.path).name if image.path else "image"


def _plain(text: str) -> str:
    """Keep a model's words from being taken for HTML."""
    return text.replace("<", "&lt;")


def _no_file() -> dict[str, Any]:
    return gr.update(value=None, interactive=False)


def _close(state: Conversation | None) -> None:
    if state is not None:
        state.close()
