"""What a client of the jobs API asks for, and which places it may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.errors import BadOption
from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.jobs.estimates import estimate
from whisper_fleet.http.jobs.idempotency import digest_of
from whisper_fleet.http.jobs.listing import Position, read_labels
from whisper_fleet.http.jobs.requests import fields_as_values, job_keywords
from whisper_fleet.http.routes.pages import page_of
from whisper_fleet.shared.http.api_keys import Scope
from whisper_fleet.shared.settings import Settings

LOCAL = Caller(tenant="", scopes=frozenset(Scope))
ACME = Caller(tenant="acme", scopes=frozenset({Scope.SUBMIT}), key="k")
ADMIN = Caller(tenant="ops", scopes=frozenset({Scope.ADMIN}), key="a")


def test_the_fields_of_a_form_have_the_types_of_their_options() -> None:
    given = {"priority": ["3"], "word_timestamps": ["true"], "initial_prompt": ["1984"], "labels": ["a=b"], "vad": [""]}
    values = fields_as_values(given)
    assert values == {"priority": 3, "word_timestamps": True, "initial_prompt": "1984", "labels": "a=b"}
    with pytest.raises(ApiError, match="2 times"):
        fields_as_values({"priority": ["1", "2"]})


def test_the_tenant_is_the_callers_unless_an_admin_names_another() -> None:
    settings = Settings()
    url = "https://example.org/a.wav"
    assert job_keywords({"file_path": url}, ACME, settings)["tenant"] == "acme"
    assert job_keywords({"file_path": url, "tenant": "x"}, ADMIN, settings)["tenant"] == "x"
    with pytest.raises(ApiError) as raised:
        job_keywords({"file_path": url, "tenant": "x"}, ACME, settings)
    assert raised.value.status == 403


@pytest.mark.parametrize("name", ["file_path", "output_path"])
def test_callers_of_other_machines_name_paths_only_where_the_settings_say(name: str) -> None:
    given = {"file_path": "https://example.org/a.wav", name: "/data/a"}
    with pytest.raises(ApiError) as raised:
        job_keywords(given, ACME, Settings())
    assert (raised.value.status, raised.value.param) == (403, name)
    for caller, settings in ((LOCAL, Settings()), (ADMIN, Settings()), (ACME, Settings(media_roots=(Path("/data"),)))):
        assert job_keywords(given, caller, settings)[name] == "/data/a"


def test_an_upload_is_never_named_by_its_address() -> None:
    with pytest.raises(ApiError, match="file_id"):
        job_keywords({"file_path": "upload://" + "0" * 48}, LOCAL, Settings())


def test_a_wrong_option_is_refused_before_its_file_is_there() -> None:
    with pytest.raises(BadOption, match="labels"):
        job_keywords({"labels": {"x": 1}}, LOCAL, Settings())


def test_what_is_less_urgent_waits_behind_the_job() -> None:
    waiting = [(0, 100.0), (5, 200.0), (9, 4000.0)]
    found = estimate(audio_seconds=600.0, priority=5, waiting=waiting, running=100.0, speeds=[30.0, 10.0])
    assert (found.backlog_seconds, found.speed, found.wait_seconds, found.total_seconds) == (400, 40, 10, 25)


def test_a_fleet_that_never_transcribed_has_no_estimate() -> None:
    found = estimate(audio_seconds=600.0, priority=5, waiting=[], running=0.0, speeds=[0.0])
    assert (found.speed, found.wait_seconds, found.total_seconds, found.gpus) == (None, None, None, 1)


def test_a_cursor_is_the_position_that_it_was_made_of() -> None:
    position = Position(1_700_000_000.123456, "jöb:1 x")
    assert Position.parse(str(position)) == position
    for wrong in ("", "x", "é", "AAAA", str(Position(float("nan"), "j")), str(Position(float("inf"), "j"))):
        with pytest.raises(ApiError):
            Position.parse(wrong)


def test_jobs_of_one_moment_are_neither_repeated_nor_left_out() -> None:
    position = Position(5.0, "m")
    assert position.is_before(5.0, "a") and position.is_before(4.0, "z")
    assert not position.is_before(5.0, "m") and not position.is_before(5.0, "n") and not position.is_before(6.0, "a")


def test_labels_of_a_query_may_hold_colons() -> None:
    assert read_labels(["a:b:c", "x:"]) == {"a": "b:c", "x": ""}


def test_the_order_of_fields_does_not_make_another_request() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_a_page_begins_behind_its_cursor() -> None:
    page = page_of(["a", "b", "c"], 1, "a", str, lambda entry: {"id": entry})
    assert (page.data, page.first_id, page.last_id, page.has_more) == ([{"id": "b"}], "b", "b", True)
    assert not page_of(["a"], 1, "a", str, lambda entry: {"id": entry}).data
