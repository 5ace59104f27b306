from __future__ import annotations

import numpy as np
import pytest

from models.arena import LINE, Arena, Arrays, Field


class _Part:
    def __init__(self, *fields: Field) -> None:
        self.arrays: Arrays = {}
        self._fields = fields

    def fields(self) -> tuple[Field, ...]:
        return self._fields


def _arena(rows: int) -> tuple[Arena, _Part]:
    part = _Part(Field("flag", np.bool_), Field("ring", np.float64, (3, 2)), Field("weights", np.float32, (5,)))
    arena = Arena([part])
    arena.resize(rows)
    return arena, part


def test_every_field_of_every_record_begins_on_a_cache_line() -> None:
    arena, part = _arena(3)
    for name, array in part.arrays.items():
        for row in range(3):
            assert array[row : row + 1].ctypes.data % LINE == 0, name
    assert arena.stride == 3 * LINE


def test_fields_are_views_of_one_buffer_and_do_not_overlap() -> None:
    arena, part = _arena(2)
    part.arrays["ring"][:] = 7.0
    part.arrays["weights"][1] = 3.0
    assert not part.arrays["flag"].any()
    assert not part.arrays["weights"][0].any()
    at = arena.offset("weights")
    assert (arena.records[1, at : at + 20].view(np.float32) == 3.0).all()


def test_room_for_more_series_leaves_those_there_as_they_are() -> None:
    arena, part = _arena(2)
    part.arrays["ring"][1] = np.arange(6).reshape(3, 2)
    arena.resize(10)
    assert part.arrays["ring"].shape == (10, 3, 2)
    assert (part.arrays["ring"][1] == np.arange(6).reshape(3, 2)).all()
    assert not part.arrays["ring"][2:].any()


def test_a_snapshot_goes_into_any_row_exactly_and_shares_no_memory() -> None:
    arena, part = _arena(2)
    part.arrays["ring"][0] = 0.1
    part.arrays["flag"][0] = True
    taken = arena.snapshot(0)
    part.arrays["ring"][0] = 9.0
    arena.restore(1, taken)
    assert (part.arrays["ring"][1] == 0.1).all()
    assert part.arrays["flag"][1]


def test_a_snapshot_of_other_fields_is_refused_and_changes_nothing() -> None:
    arena, part = _arena(1)
    taken = arena.snapshot(0)
    with pytest.raises(ValueError, match=r"weights has shape \(4,\), this configuration needs \(5,\)"):
        arena.restore(0, taken | {"weights": np.ones(4), "ring": np.ones((3, 2))})
    with pytest.raises(ValueError, match="state lacks ring"):
        arena.restore(0, {"flag": np.array(True)})
    assert not part.arrays["ring"].any()


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two fields of the arena are named a"):
        Arena([_Part(Field("a", np.float64)), _Part(Field("a", np.float32))])
