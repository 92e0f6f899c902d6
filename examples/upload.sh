#!/usr/bin/env bash
# Uploads a file with grpcurl alone: start, data in messages of 256 KiB, finish. Prints the answer as JSON.
#
#     examples/upload.sh plot.png

set -euo pipefail

file=$1
server=${FILES_SERVER:-http://127.0.0.1:50051}
user=${FILES_USER:-anna}
name=$(basename "$file")

messages() {
    printf '{"start": {"user_id": "%s", "purpose": "assistants", "filename": "%s", "size_bytes": %d}}\n' \
        "$user" "$name" "$(stat -c %s "$file")"
    # A line a message: 262,143 bytes are a multiple of 3, so that base64 needs no padding in between.
    base64 -w 349524 "$file" | while read -r data || [ -n "$data" ]; do
        printf '{"data": "%s"}\n' "$data"
    done
    printf '{"finish": {"sha256": "%s"}}\n' "$(sha256sum "$file" | cut -c1-64 | xxd -r -p | base64 -w 0)"
}

messages | grpcurl -plaintext -d @ "${server#http://}" files.v1.FilesService/UploadFile
