"""A chat is opened again: the links in its whole history have ended, and are signed anew in one call.

What is kept of a message names the file, never the link.

python examples/chat_history.py
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from files_client import Client, SignedUrlRequest

USER = "anna"
LINK_LIFE = timedelta(minutes=10)


@dataclass(frozen=True)
class Message:
    """A message as the chat keeps it."""

    text: str
    file_id: str | None = None


def say(client: Client, text: str, number: int) -> Message:
    """Keeps a message with a file of its own."""
    file = client.files.upload_file_object(
        f"note {number}\n".encode(),
        filename=f"note-{number}.txt",
        user_id=USER,
        purpose="assistants",
        references=["thread:t-43"],
    )
    return Message(text, file.id)


def render(client: Client, history: list[Message]) -> list[str]:
    """The history as Markdown. A file that is gone leaves a word in its place, and stops no other."""
    wanted = [message.file_id for message in history if message.file_id]
    requests = [SignedUrlRequest(file_id, ttl=LINK_LIFE, user_id=USER) for file_id in wanted]
    signed = {outcome.file_id: outcome for outcome in client.files.get_signed_urls(requests)}
    lines = []
    for message in history:
        outcome = signed.get(message.file_id or "")
        if outcome is None:
            lines.append(message.text)
        elif outcome.signed_url:
            lines.append(f"{message.text} {outcome.signed_url.markdown}")
        else:
            lines.append(f"{message.text} (no longer available)")
    return lines


def main() -> None:
    """Makes a history, deletes one of its files, and renders it."""
    with Client() as client:
        history = [Message("Hello."), *(say(client, f"Note {n}:", n) for n in range(1, 4))]
        client.files.delete_file(history[2].file_id or "", force=True)
        print("\n".join(render(client, history)))


if __name__ == "__main__":
    main()
