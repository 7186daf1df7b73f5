"""Part files are there whole or not at all."""

import json

import pyarrow as pa
import pytest

from feature_store.files import write_json_atomically
from feature_store.parts import (
    count_rows,
    list_parts,
    map_parts,
    read_part,
    remove_folder,
    write_part,
)


def table(*values):
    return pa.table({"value": list(values)})


def test_parts_are_listed_in_order_of_their_numbers_and_by_name(tmp_path):
    for number in (10, 2, 0):
        write_part(tmp_path / "new", "raw", number, table(number))
    write_part(tmp_path / "new", "removed", 1, table(7, 8))
    assert [read_part(part).column("value").to_pylist() for part in list_parts(tmp_path / "new", "raw")] == [
        [0],
        [2],
        [10],
    ]
    assert count_rows(list_parts(tmp_path / "new", "removed")) == 2
    assert list_parts(tmp_path / "missing", "raw") == []


def test_a_part_that_was_not_finished_is_not_listed(tmp_path):
    whole = write_part(tmp_path, "raw", 0, table(1))
    (tmp_path / "raw-000001.unfinished").write_bytes(whole.read_bytes()[:20])
    assert list_parts(tmp_path, "raw") == [whole]


def test_a_part_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = write_part(tmp_path, "raw", 0, table(1))
    impossible = pa.table({"value": pa.nulls(1, pa.run_end_encoded(pa.int32(), pa.int8()))})
    with pytest.raises(pa.ArrowNotImplementedError):
        write_part(tmp_path, "raw", 0, impossible)
    assert read_part(path).column("value").to_pylist() == [1]
    assert list_parts(tmp_path, "raw") == [path]


def test_a_part_is_replaced_whole(tmp_path):
    write_part(tmp_path, "raw", 0, table(1, 2))
    assert read_part(write_part(tmp_path, "raw", 0, table(3))).column("value").to_pylist() == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["raw-000000.parquet"]


def test_results_come_in_the_order_of_the_parts(tmp_path):
    parts = [write_part(tmp_path, "raw", number, table(*range(number))) for number in (3, 1, 2)]
    assert list(map_parts(lambda part: read_part(part).num_rows, parts)) == [3, 1, 2]


def test_removing_a_folder_twice_is_fine(tmp_path):
    write_part(tmp_path / "run", "raw", 0, table(1))
    remove_folder(tmp_path / "run")
    remove_folder(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "reports" / "run.json"
    write_json_atomically(path, {"title": "Käse"})
    with pytest.raises(TypeError):
        write_json_atomically(path, {"first": "written", "second": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"title": "Käse"}
    write_json_atomically(path, [])
    assert json.loads(path.read_text(encoding="utf-8")) == []
