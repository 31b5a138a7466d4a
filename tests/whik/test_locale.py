"""Every word of the demo exists in Korean."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation import templatize

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "locale" / "ko" / "LC_MESSAGES"


def po() -> dict[str, str]:
    """Return the texts of the .po file."""
    lines = (CATALOGUE / "django.po").read_text(encoding="utf-8").splitlines()
    pairs: list[dict[str, str]] = []
    keyword = ""
    for line in lines:
        if match := re.match(r'(msgid|msgstr) (".*")$', line):
            keyword, line = match.groups()
            if keyword == "msgid":
                pairs.append({"msgid": "", "msgstr": ""})
        if line.startswith('"'):
            pairs[-1][keyword] += ast.literal_eval(line)
    return {pair["msgid"]: pair["msgstr"] for pair in pairs}


def mo() -> dict[str, str]:
    """Return the texts of the .mo file, which is what runs."""
    with (CATALOGUE / "django.mo").open("rb") as file:
        catalogue = gettext.GNUTranslations(file)
    return {key: catalogue.gettext(key) for key in po()}


def texts() -> Iterator[str]:
    """Yield every text that a template or a module asks a translation for."""
    for template in (ROOT / "templates").rglob("*.html"):
        source = templatize(template.read_text(encoding="utf-8"))
        for literal in re.findall(r"""gettext\(u?('(?:\\.|[^'])*'|"(?:\\.|[^"])*")\)""", source):
            yield ast.literal_eval(literal)
    for module in (ROOT / "whik").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="_"), args=[ast.Constant(value=str(text))]):
                    yield text


def test_every_text_of_the_pages_is_in_the_catalogue() -> None:
    wanted = set(texts())
    assert "Make a user" in wanted
    assert "English" in wanted
    assert wanted - set(po()) == set()
    assert set(po()) - wanted == {""}


def test_every_text_is_translated() -> None:
    assert "fuzzy" not in (CATALOGUE / "django.po").read_text(encoding="utf-8")
    for text, translation in po().items():
        assert not text or re.search("[가-힣]", translation), text


def test_placeholders_are_kept() -> None:
    pattern = r"\{\w+\}|%\(\w+\)s|<code>[\w=]+</code>"
    for text, translation in po().items():
        assert sorted(re.findall(pattern, text)) == sorted(re.findall(pattern, translation)), text


def test_compiled_catalogue_is_up_to_date() -> None:
    """Run ``msgfmt -o django.mo django.po`` after a change; nobody who starts the demo must."""
    assert mo() == po()
