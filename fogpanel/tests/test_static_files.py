"""Names of static files: with hashes everywhere, also within our own modules."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders

from fogpanel.static_files import StaticFiles


def collected(folder: Path) -> StaticFiles:
    storage = StaticFiles(location=str(folder))
    own = next(finder for finder in get_finders() if type(finder).__name__ == "FileSystemFinder")
    paths = {}
    for path, source in own.list([]):
        if path.startswith(("sealing/", "private/")):
            with source.open(path) as content:
                storage.save(path, content)
            paths[path] = (storage, path)
    assert not [found for _, _, found in storage.post_process(paths) if isinstance(found, Exception)]
    return storage


def test_modules_import_each_other_by_names_with_hashes(tmp_path: Path) -> None:
    storage = collected(tmp_path)
    modules = [*(settings.BASE_DIR / "static").glob("sealing/*.js")]
    assert modules
    for module in modules:
        served = tmp_path / storage.stored_name(f"sealing/{module.name}")
        imported = re.findall(r' from "(.+)";', served.read_text())
        assert len(imported) == len(re.findall(r"^import |^} from ", module.read_text(), re.MULTILINE))
        for name in imported:
            assert re.fullmatch(r"\./\w+\.[0-9a-f]{12}\.js", name)
            assert (served.parent / name).is_file()
