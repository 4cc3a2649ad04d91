"""One tenant cannot occupy all of intake, and no other tenant's files wait behind its own."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.scheduler.intake.places.share import full_tenants, is_slow, next_tenant, places_of, share_of


def may_begin(tenant: str, reading: Counter[str], deferred: list[str], places: int) -> bool:
    return share_of(tenant, reading, deferred, places).allows(reading[tenant], reading.total())


@pytest.mark.parametrize(
    ("processes", "nodes", "places"),
    [(0, 0, 0), (3, 1, 2), (4, 1, 3), (20, 2, 18), (1, 1, 1), (2, 1, 2), (5, 2, 5)],
)
def test_a_process_of_each_node_reads_no_file(processes: int, nodes: int, places: int) -> None:
    """Unless the nodes have so few that there would be nearly none left."""
    assert places_of(processes, nodes) == places


@pytest.mark.parametrize(
    ("tenant", "reading", "deferred", "places", "begins"),
    [
        ("a", {}, [], 3, True),
        ("a", {"a": 1}, [], 3, True),
        ("a", {"a": 2}, [], 3, False),  # the last place is for another tenant
        ("b", {"a": 2}, [], 3, True),
        ("b", {"a": 1, "b": 1}, ["a"], 3, False),
        ("a", {"a": 3, "b": 1}, [], 9, True),  # four of eight for each
        ("a", {"a": 4, "b": 1}, [], 9, False),
        ("a", {"a": 4}, ["b"], 9, False),
        ("c", {"a": 1, "b": 1}, [], 3, True),  # every tenant may have one file read
        ("d", {"a": 1, "b": 1, "c": 1}, [], 3, False),  # but some process must receive and assemble
        ("a", {"a": 7}, [], 0, True),  # nothing is known of intake
        ("a", {"a": 1}, [], 1, False),
        ("a", {}, [], 1, True),
    ],
)
def test_a_tenant_has_its_share(
    tenant: str, reading: dict[str, int], deferred: list[str], places: int, begins: bool
) -> None:
    assert may_begin(tenant, Counter(reading), deferred, places) is begins


@pytest.mark.parametrize(
    ("reading", "deferred", "places", "tenant"),
    [
        ({}, {}, 3, None),
        ({"a": 1}, {"a": 1.0}, 3, "a"),
        ({"a": 2}, {"a": 1.0}, 3, None),
        ({"a": 1}, {"a": 1.0, "b": 2.0}, 3, "b"),  # it has fewer
        ({}, {"a": 2.0, "b": 1.0}, 3, "b"),  # it has waited longer
        ({"a": 1, "b": 1}, {"a": 1.0, "b": 2.0}, 3, None),
    ],
)
def test_the_tenant_with_the_fewest_files_is_next(
    reading: dict[str, int], deferred: dict[str, float], places: int, tenant: str | None
) -> None:
    assert next_tenant(reading, deferred, places) == tenant


@pytest.mark.parametrize(
    ("reading", "deferred", "places", "full"),
    [({"a": 1}, [], 3, []), ({"a": 2}, [], 3, ["a"]), ({"a": 1, "b": 1}, [], 3, ["a", "b"]), ({"a": 9}, [], 0, [])],
)
def test_parked_files_of_tenants_with_their_share_are_passed_over(
    reading: dict[str, int], deferred: list[str], places: int, full: list[str]
) -> None:
    assert full_tenants(reading, deferred, places) == full


@given(st.lists(st.sampled_from("aaaaaab"), max_size=60), st.integers(2, 9))
def test_a_tenant_without_a_file_never_waits_for_one_that_has_many(arrivals: list[str], places: int) -> None:
    """However many files of one tenant come first and never end, the first file of another finds a place."""
    reading: Counter[str] = Counter()
    for tenant in arrivals:
        if may_begin(tenant, reading, [], places):
            reading[tenant] += 1
        assert reading["a"] <= max(1, places - 1)
    assert reading["b"] >= 1 or "b" not in arrivals


@pytest.mark.parametrize(
    ("since", "slow"), [([], True), ([9.9], False), ([1.0, 9.9], False), ([1.0, 2.0], True), ([9.4], True)]
)
def test_clips_wait_for_each_other_and_nothing_waits_for_slow_files(since: list[float], slow: bool) -> None:
    assert is_slow(since, now=10.0) is slow
