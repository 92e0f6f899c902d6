"""A thread is deleted: every file loses its reference to it, and those that lived only for it go with it.

python examples/thread_deleted.py
"""

from __future__ import annotations

from files_client import Client

USER, THREAD, ASSISTANT = "anna", "thread:t-44", "assistant:a-1"


def main() -> None:
    """Makes a thread's files, deletes the thread, and prints what is left."""
    with Client() as client:
        scratch = client.files.upload_file_object(
            b"only for this thread\n",
            filename="scratch.txt",
            user_id=USER,
            purpose="assistants",
            references=[THREAD],
            delete_when_unreferenced=True,
        )
        knowledge = client.files.upload_file_object(
            b"for every thread of the assistant\n",
            filename="knowledge.txt",
            user_id=USER,
            purpose="assistants",
            references=[THREAD, ASSISTANT],
            delete_when_unreferenced=True,
        )

        # The platform's own handler of "thread deleted".
        gone = client.files.delete_reference(THREAD, user_id=USER)
        print(f"{gone.detached_count} files untied, {gone.deleted_count} deleted")

        left = {file.id for file in client.files.list_files(USER)}
        print(f"scratch.txt is {'there' if scratch.id in left else 'gone'}")
        print(f"knowledge.txt is {'there' if knowledge.id in left else 'gone'}")


if __name__ == "__main__":
    main()
