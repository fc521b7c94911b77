"""How static files are named and served."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

OF_MODULES = ((r'(?P<matched>from "(?P<url>\.[^"]+)")', 'from "%(url)s"'),)


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # has no types
    """Names with hashes, also where one of our modules imports another: a page never mixes two versions.

    What Django has for this reads all scripts, and stumbles over comments in those of others.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("sealing/*.js", OF_MODULES),
        ("private/*.js", OF_MODULES),
    )
    max_post_process_passes = 12  # each settles the names in one more layer of imports
