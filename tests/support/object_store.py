"""An S3 that keeps everything in memory: moto's server, in a thread of the test, and the fleet's settings for it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


@dataclass(frozen=True)
class ObjectStore:
    """A running store, and a client of it."""

    url: str
    client: Any

    def keys(self, bucket: str) -> list[str]:
        """Return the names of the objects in a bucket."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, bucket: str, key: str) -> str:
        """Return an object as text."""
        text: str = self.client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        return text

    def presigned(self, bucket: str, key: str) -> str:
        """Return a URL with which anybody can read an object for a while."""
        url: str = self.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        return url


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Run a store while the context lasts; the environment leads the fleet to it, as an operator's would."""
    from fsspec.config import conf

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    secrets = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    for name, value in {**secrets, "FSSPEC_S3_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(conf, "s3", {"endpoint_url": url})  # what fsspec reads from the environment when it is imported
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    client = boto3.client("s3", endpoint_url=url, region_name=REGION)
    try:
        yield ObjectStore(url, client)
    finally:
        client.close()
        server.stop()
