"""Declaring a setting, and the one door that every value enters by."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from accel_config import CATALOGUE, SettingError
from accel_config.settings.declaration import Section, Setting, setting
from accel_config.settings.index import Catalogue
from accel_config.settings.origin import FLAG, Origin

HERE = Origin("--here", FLAG)


class Sample(Section, title="Sample", key="sample_config", prefix="sample_"):
    """Settings of each kind."""

    sample_switch: bool = setting(False, switch=True, help="A switch.")
    sample_flag: bool | None = setting(help="A boolean.")
    sample_count: int = setting(1, minimum=1, maximum=9, help="A count.", short="-c")
    sample_rate: float | None = setting(help="A rate.", unset=("auto",))
    sample_choice: str = setting("One", choices=("One", "Two"), renamed={"2": "Two"}, help="A choice.")
    sample_names: tuple[str, ...] = setting((), help="Names.")
    sample_three: tuple[bool, ...] = setting((False, False, False), help="Three.")
    sample_joined: str | None = setting(joins=True, help="Joined.")
    sample_any: dict[str, object] | None = setting(help="Anything.")


def one(name: str) -> Setting:
    return Catalogue((Sample,)).by_name[name]


@pytest.mark.parametrize("text", ["true", "True", "YES", "on", "1", "t", "y"])
def test_true_words(text: str) -> None:
    assert one("sample_flag").parse(text, HERE) is True


@pytest.mark.parametrize("text", ["false", "FALSE", "No", "off", "0", "f", "n"])
def test_false_words(text: str) -> None:
    assert one("sample_flag").parse(text, HERE) is False


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("sample_count", "3", 3),
        ("sample_count", "8e0", 8),
        ("sample_count", 3, 3),
        ("sample_rate", "1.5", 1.5),
        ("sample_rate", "auto", None),
        ("sample_choice", "two", "Two"),
        ("sample_choice", "2", "Two"),
        ("sample_names", "a", ("a",)),
        ("sample_names", ["a", "b"], ("a", "b")),
        ("sample_three", "true,False,1", (True, False, True)),
        ("sample_three", "(false, true, false)", (False, True, False)),
        ("sample_three", ["1", "0", "0"], (True, False, False)),
        ("sample_joined", ["A", "B"], "A,B"),
        ("sample_any", {"a": 1}, {"a": 1}),
    ],
)
def test_values(name: str, raw: object, value: object) -> None:
    assert one(name).parse(raw, HERE) == value


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("sample_flag", "maybe", "--here: sample_flag must be true or false, not 'maybe'"),
        ("sample_flag", "", "must be true or false"),
        ("sample_count", "2.5", "sample_count must be a whole number from 1 to 9, not '2.5'"),
        ("sample_count", "True", "must be a whole number"),
        ("sample_count", "0", "from 1 to 9, not '0'"),
        ("sample_count", "10", "from 1 to 9, not '10'"),
        ("sample_count", "1e999", "must be a whole number"),
        ("sample_rate", "nan", "must be a number"),
        ("sample_rate", "inf", "must be a number"),
        ("sample_choice", "Twoo", "must be one of One, Two, not 'Twoo'. Did you mean 'Two'?"),
        ("sample_three", "true,false", "must be a list of 3 (true or false)"),
        ("sample_count", ["1"], "must be a whole number"),
        ("sample_count", {"a": 1}, "must be a whole number"),
        ("sample_any", "text", "must be a mapping"),
    ],
)
def test_refusals_name_setting_origin_and_what_is_wanted(name: str, raw: object, message: str) -> None:
    with pytest.raises(SettingError) as refusal:
        one(name).parse(raw, HERE)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("--here: ")


def test_a_secret_is_not_repeated_in_a_refusal() -> None:
    class Hidden(Section):
        """One secret."""

        hidden_number: int | None = setting(secret=True, help="A secret.")

    with pytest.raises(SettingError, match=r"not \*\*\*"):
        Hidden.settings[0].parse("hunter2", HERE)


def test_names_derive_from_the_declaration() -> None:
    count = one("sample_count")
    assert count.flags == ("--sample_count", "--sample-count", "-c")
    assert count.variable == "ACCELERATE_LAUNCH_SAMPLE_COUNT"
    assert count.key == "sample_config.sample_count"
    assert count.keys == ("sample_config.sample_count", "sample_config.count")


def test_two_settings_cannot_claim_one_name() -> None:
    class Twin(Section):
        """Claims a flag of the other."""

        sample_count: int = setting(1, help="The same flag.")

    with pytest.raises(ValueError, match="sample_count"):
        Catalogue((Sample, Twin))


def test_the_catalogue_collides_nowhere() -> None:
    assert CATALOGUE.by_key
    assert CATALOGUE.by_variable


@pytest.mark.parametrize("declared", CATALOGUE.settings, ids=lambda one: one.name)
def test_every_built_in_value_passes_its_own_door(declared: Setting) -> None:
    if declared.default is not None:
        raw = list(declared.default) if declared.many else declared.default
        assert declared.parse(raw, HERE) == declared.default
    assert declared.optional or declared.default is not None
    assert declared.help[0].isupper() or declared.help.startswith("`")
    assert declared.help.endswith(".")


def test_a_registry_is_read_from_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Registered(Section):
        """Names from entry points."""

        registered_name: str | None = setting(registry="sample.group", help="A name.")

    declared = Registered.settings[0]
    assert declared.known == ()
    for package, text in {
        "a": "[other.group]\nno = a:b\n\n[sample.group]\nzeta = a:b\n# comment = x\nalpha=a:c\n",
        "b": "[sample.group]\nbeta = b:c\n[another]\nno = b:c\n",
    }.items():
        (tmp_path / f"{package}-1.dist-info").mkdir()
        (tmp_path / f"{package}-1.dist-info" / "entry_points.txt").write_text(text)
    (tmp_path / "c-1.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert declared.known == ("alpha", "beta", "zeta")
    assert set(declared.known) == entry_points(group="sample.group").names
    assert declared.parse("of no package yet", HERE) == "of no package yet"


def test_the_engines_are_those_that_packages_register() -> None:
    assert set(CATALOGUE.by_name["engine"].known) == entry_points(group="accel_launch.engines").names
