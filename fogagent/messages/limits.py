"""How much may be sent at once, and how large each part of it may be."""

from __future__ import annotations

MAX_FRAME_BYTES = 512 * 1024
"""Largest frame either end sends or accepts; Daphne silently drops frames above 1 MiB."""
MAX_MESSAGES_PER_FRAME = 256
COALESCE_S = 0.005
"""How long a sender may hold a message back to put others in the same frame."""

INLINE_BLOB_BYTES = 32 * 1024
"""Payloads up to this size travel inside their order; larger ones are fetched by hash."""
BLOB_CHUNK_BYTES = 192 * 1024
MAX_SOURCE_BYTES = 1024 * 1024
MAX_MODULE_BYTES = 16 * 1024 * 1024
MAX_STDIN_BYTES = 1024 * 1024
MAX_ARGS_BYTES = MAX_ENV_BYTES = 32 * 1024
"""Both travel inside the order, whose frame is limited, or inside what is sealed."""
MAX_SEALED_BYTES = 16 * 1024 * 1024
"""A sealed task or a sealed result, padding included."""
MAX_LETTER_BYTES = 64 * 1024
MAX_OUTPUT_BYTES = 1024 * 1024
"""Standard output and standard error are each cut at this size; the cut is reported."""
LOG_PIECE_BYTES = 64 * 1024
DIRECTORY_PART_BYTES = 192 * 1024
MAX_CACHED = 50
"""So many of the blobs on its disk a node tells of: those used last."""
MAX_SENTENCE = 2000
