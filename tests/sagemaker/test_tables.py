"""The tables of inputs and metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_config import SettingError
from accel_sagemaker.building import tables


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("train s3://data", ":2: a row must be a channel name and a data location, with one tab between them"),
        ("train\ts3://data\textra", ":2: a row must be"),
        ("train\t", ":2: a row must be"),
        ("a\ts3://a\n\nb c\ts3://b", ":4: 'b c' isn't a valid channel name"),
        ("a\ts3://a\na\ts3://b", ":3: a appears twice, first in"),
        ("a\t/data", ":2: the data of a must be at an address s3://..., not '/data'"),
    ],
)
def test_a_malformed_channel_is_named_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "in.tsv"
    path.write_text(f"channel_name\tdata_location\n{rows}\n")
    with pytest.raises(SettingError) as refused:
        tables.channels(path)
    assert f"{path}{message}" in str(refused.value)


def test_a_table_without_its_heading_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text("train\ts3://data\n")
    with pytest.raises(SettingError, match=r"in\.tsv:1: the first line must be a heading, which isn't read"):
        tables.channels(path)


def test_a_malformed_expression_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.tsv"
    path.write_text("metric_name\tmetric_regex\r\nloss\tloss=(\r\n")
    with pytest.raises(SettingError, match=r"metrics.tsv:2: 'loss=\(' isn't a valid regular expression: missing \)"):
        tables.metrics(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_bytes(b"a\tb\n\xff\n")
    with pytest.raises(SettingError, match="the file isn't UTF-8 text"):
        tables.channels(path)


def test_a_table_with_a_heading_alone_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "in.tsv"
    path.write_text("channel_name\tdata_location\n")
    assert tables.channels(path) == []


def test_the_wizard_offers_instances_that_the_service_has() -> None:
    from botocore.loaders import Loader

    from accel_config.catalogue import sagemaker

    shapes = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    known = {*shapes["TrainingInstanceType"]["enum"]}
    assert {*sagemaker.DATA_PARALLEL_INSTANCES, sagemaker.INSTANCE} <= known
