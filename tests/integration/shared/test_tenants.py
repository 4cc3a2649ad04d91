"""What the ledger keeps per tenant is bounded: idle tenants are forgotten, and none may fill the queue."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import SPEECH
from tests.support.ledger_by_hand import LedgerByHand
from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.services import make_services
from whisper_fleet.shared.errors import TooManyJobs
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.ledger.tenants import forget_tenants, waiting_jobs
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def tenants(redis: Redis) -> set[str]:
    fields = [text(field) for field in redis.hkeys(keys.CLOCK)]
    return {field.split("/", 2)[2] for field in fields if field.startswith("waiting/")}


def test_a_tenant_without_waiting_jobs_is_forgotten_after_an_hour(ledger: LedgerByHand, redis: Redis) -> None:
    for number in range(300):
        ledger.assigned(ledger.planned(f"j{number}", tenant=f"t{number}"), slots=1000)
    ledger.planned("waits", tenant="a/b\nc", priority=3)
    assert forget_tenants(redis, 100.0) == 0  # it notes that they are idle
    assert forget_tenants(redis, 3_699.0) == 0
    assert forget_tenants(redis, 3_700.0) == 300
    assert tenants(redis) == {"a/b\nc"}
    assert redis.hlen(keys.CLOCK) < 10
    [lane] = ledger.lanes(10)
    assert [job.job for job in lane.jobs] == ["waits"]


def test_a_tenant_that_comes_back_in_time_is_not_forgotten(ledger: LedgerByHand, redis: Redis) -> None:
    ledger.assigned(ledger.planned("a", tenant="x"))
    forget_tenants(redis, 100.0)
    ledger.planned("b", tenant="x")
    assert forget_tenants(redis, 10_000.0) == 0
    assert waiting_jobs(redis, "x") == 1


def test_nobody_gets_rid_of_what_it_had_by_staying_away(ledger: LedgerByHand, redis: Redis) -> None:
    """A tenant that was served ahead of others keeps its place while they wait."""
    ledger.planned("others", 3, tenant="others")
    ledger.assigned(ledger.planned("a", tenant="greedy"))
    for now in (100.0, 10_000.0):
        assert forget_tenants(redis, now) == 0
    ledger.planned("again", tenant="greedy")
    assert {lane.tenant: lane.tenant_served for lane in ledger.lanes(10)} == {"others": 0.0, "greedy": 300.0}


def test_an_old_clock_is_cleaned_likewise(redis: Redis) -> None:
    """As the first version left it: counts of 0, and no time of idleness."""
    for field, value in (("tenants/5", "9"), ("tenant/5/x", "9"), ("jobs/5/x", "9"), ("waiting/5/x", "0")):
        redis.hset(keys.CLOCK, field, value)
    forget_tenants(redis, 100.0)
    assert forget_tenants(redis, 10_000.0) == 1
    assert redis.hgetall(keys.CLOCK) == {b"tenants/5": b"9"}


def test_a_tenant_has_no_more_waiting_jobs_than_it_may(redis_url: str, redis: Redis, tmp_path: Path) -> None:
    app = Celery("intake", broker=redis_url, backend=redis_url, set_as_current=False)
    services = make_services(app, Settings(redis_url=redis_url, var_dir=tmp_path, max_waiting_jobs=2))
    asked = {"file_path": str(min(SPEECH.glob("*.wav"))), "tenant": "x"}
    for job, priority in (("a", 0), ("b", 9)):
        assert Planner(services).take_in(job, {**asked, "priority": priority})
    with pytest.raises(TooManyJobs, match=r"^Tenant 'x' has 2 jobs waiting .* WHISPER_FLEET_MAX_WAITING_JOBS raised"):
        Planner(services).take_in("c", asked)
    assert services.ledger.job("c").state is JobState.FAILED
    assert Planner(services).take_in("d", {**asked, "tenant": "y"})
    LedgerByHand(redis).assigned("a")
    assert Planner(services).take_in("e", asked)
