"""Every flag, key and variable, as recorded in tests/golden/surface.txt: a change shows in the diff."""

from accel_config import CATALOGUE
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "surface.txt"


def surface() -> str:
    rows: list[str] = []
    for section in CATALOGUE.sections:
        rows.append(f"[{section.title}]")
        for one in section.settings:
            rows.append(one.name)
            told = {
                "flags": " ".join((*one.flags, *one.off_flags)),
                "keys": " ".join(one.keys),
                "from": " ".join(one.variables),
                "gives": " ".join(one.env),
                "default": repr(one.default),
                "is": one.wanted,
            }
            rows += [f"    {what}: {text}" for what, text in told.items() if text]
    return "\n".join(rows) + "\n"


def test_the_surface_is_as_recorded() -> None:
    """On a difference the new text is left in place: look at the diff, and commit it if it is meant."""
    new = surface()
    old = GOLDEN.read_text() if GOLDEN.exists() else ""
    if new != old:
        GOLDEN.write_text(new)
    assert new == old, "flags, keys or variables changed; tests/golden/surface.txt has been rewritten"
