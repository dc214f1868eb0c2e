"""The catalogue of Chinese words: TOML files, one an area, which Django's gettext gets as the .mo file that it reads.

`locale/parts/<area>.toml` holds `"English" = "中文"`. Chinese has no plural forms, so that a pair is all there is to
say, and TOML is what people of this project edit everywhere else.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path

import polib

LANGUAGE = "zh_Hans"


def read_parts(folder: Path) -> dict[str, str]:
    """English -> Chinese, of all areas. Raises ValueError where two areas disagree about a sentence."""
    words: dict[str, str] = {}
    for path in sorted((folder / "parts").glob("*.toml")):
        for english, chinese in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if words.setdefault(english, chinese) != chinese:
                raise ValueError(f"{path.name}: {english!r} is translated otherwise in another part")
    return words


def ensure_compiled(source: Path, target: Path) -> Path:
    """The folder for LOCALE_PATHS: `target`, with a .mo that is not older than the parts."""
    parts = list((source / "parts").glob("*.toml"))
    mo = target / LANGUAGE / "LC_MESSAGES" / "django.mo"
    newest = max((path.stat().st_mtime for path in parts), default=0.0)
    if mo.exists() and mo.stat().st_mtime >= newest:
        return target
    mo.parent.mkdir(parents=True, exist_ok=True)
    catalogue = polib.POFile()
    catalogue.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Language": LANGUAGE,
        "Plural-Forms": "nplurals=1; plural=0;",
    }
    words = read_parts(source)
    for english, chinese in words.items():
        catalogue.append(polib.POEntry(msgid=english, msgstr=chinese))
        # The same again for `ngettext`, which finds a sentence by its singular among those that have a plural.
        if "%(" in english:
            catalogue.append(polib.POEntry(msgid=english, msgid_plural=english, msgstr_plural={0: chinese}))
    handle, name = tempfile.mkstemp(dir=mo.parent)
    os.close(handle)
    catalogue.save_as_mofile(name)
    os.replace(name, mo)  # another process may be reading it
    return target
