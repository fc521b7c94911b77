"""Sealed tasks: what a client, a browser and an agent do so that the panel never holds plain text.

The client packs the task (`task`) and encrypts it once under a random content key (`content`). The panel
reserves a first node and up to two standbys; for each the client wraps the content key with the sealing key
that the signed directory has for it (`wrapping`). The panel keeps and delivers the sealed content and the
wraps, and can open neither. The node seals what came of it to a key that the client made for this task, and
signs it (`result`).

Formats are written down to the byte in `content`, `packing`, `wrapping` and `result`. They use AES-GCM, HKDF,
HMAC, SHA-256, X25519 and Ed25519 only: what a browser has in WebCrypto. All integers are unsigned and
big-endian.
"""
