"""The signature of a webhook is one that clients accept, and an address that is not allowed is never called."""

from __future__ import annotations

import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from whisper_fleet.scheduler.webhooks.sending import headers_of, send
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import Delivery
from whisper_fleet.shared.webhooks.events import Event
from whisper_fleet.shared.webhooks.secrets import new_secret

EVENT = Event(id="evt_1", type="job.done", created=1_700_000_000.25, data={"id": "jöb", "duration": 8.0})


def test_the_official_openai_client_unwraps_it() -> None:
    secret, body = new_secret(), EVENT.body()
    headers = headers_of(EVENT.id, body, [secret], time.time())
    client = OpenAI(api_key="x", webhook_secret=secret)
    event = client.webhooks.unwrap(body, headers)
    assert (event.id, event.type, event.created_at) == ("evt_1", "job.done", 1_700_000_000)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(body + " ", headers)
    client.close()


def test_while_a_secret_is_rotated_receivers_with_the_old_and_the_new_one_accept_it() -> None:
    old, new = new_secret(), new_secret()
    headers = headers_of(EVENT.id, EVENT.body(), [new, old], time.time())
    for secret in (old, new):
        assert Webhook(secret).verify(EVENT.body(), headers)["data"]["id"] == "jöb"
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(EVENT.body(), headers)


def test_an_address_that_the_settings_no_longer_allow_is_not_called() -> None:
    url = "http://169.254.169.254/latest/"
    delivery = Delivery(event=EVENT, url=url, target=url, owner="", give_up=0.0, attempts=1, error=None, token="t")
    reply = send(delivery, [new_secret()], Settings(callback_prefixes=("https://example.org/",)), time.time())
    assert reply.status is None
    assert "WHISPER_FLEET_CALLBACK_PREFIXES" in str(reply.error)
