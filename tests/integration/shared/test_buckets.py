"""Audio from a bucket and transcripts to it: through a real client against a store in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SPEECH
from tests.support.object_store import ObjectStore, object_store
from tests.support.redis_server import free_port
from whisper_fleet.scheduler.intake.outputs import output_place
from whisper_fleet.shared import errors
from whisper_fleet.shared.audio.sources import opened
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.files.buckets import is_bucket
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # aiobotocore closes its connections when it is collected
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CLIP = min(SPEECH.glob("*.wav"))
TRANSCRIPT = Transcript(text=" Hello.", segments=(), language="en")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    import s3fs

    with object_store(monkeypatch) as running:
        running.client.create_bucket(Bucket="talks")
        running.client.upload_file(str(CLIP), "talks", "in/talk one.wav")
        yield running
        s3fs.S3FileSystem.clear_instance_cache()
        gc.collect()


@pytest.fixture
def settings(store: ObjectStore, tmp_path: Path) -> Settings:
    prefixes = ("s3://talks/in/", "s3://missing/", f"{store.url}/talks/")
    return Settings(var_dir=tmp_path, url_prefixes=prefixes, output_prefixes=("s3://talks/out/", "s3://missing/"))


def request(**fields: object) -> TranscribeRequest:
    return TranscribeRequest.model_validate({"file_path": "s3://talks/in/talk one.wav", "model_name": "base", **fields})


def test_an_object_is_fetched_and_the_copy_removed(settings: Settings) -> None:
    with opened("s3://talks/in/talk one.wav", settings) as path:
        assert path.read_bytes() == CLIP.read_bytes()
    assert not path.exists()


def test_only_an_allowed_place_is_read_and_written(settings: Settings) -> None:
    with pytest.raises(errors.UrlNotAllowed), opened("s3://talks/private/x.wav", settings):
        pass
    for place in ("s3://talks/private", "s3://talks", "s3://talks/out/../private", "s3://talks-2/out"):
        refused = output_place(request(output_path=place), settings)
        assert refused is not None
        for step in (refused.check, refused.prepare, lambda here=refused: here.write(TRANSCRIPT)):
            with pytest.raises(errors.OutputNotAllowed, match="OUTPUT_PREFIXES"):
                step()


def test_an_object_that_is_missing_empty_or_too_large_says_so(settings: Settings, store: ObjectStore) -> None:
    store.client.put_object(Bucket="talks", Key="in/empty.wav", Body=b"")
    with pytest.raises(errors.BucketUnavailable, match="in/none"), opened("s3://talks/in/none.wav", settings):
        pass
    with pytest.raises(errors.EmptyFile), opened("s3://talks/in/empty.wav", settings):
        pass
    small = settings.model_copy(update={"max_file_bytes": 1000})
    with pytest.raises(errors.FileTooLarge), opened("s3://talks/in/talk one.wav", small):
        pass


def test_transcripts_are_written_as_objects_and_other_inputs_get_other_names(
    settings: Settings, store: ObjectStore
) -> None:
    place = output_place(request(output_path="s3://talks/out", formats=("txt", "json")), settings)
    assert place is not None
    place.check()
    place.prepare()
    assert store.keys("talks") == ["in/talk one.wav"]  # the test object is gone
    files = ["s3://talks/out/talk one.txt", "s3://talks/out/talk one.json"]
    assert place.write(TRANSCRIPT) == files == place.write(TRANSCRIPT)
    assert store.read("talks", "out/talk one.json") != ""
    other = output_place(
        request(file_path="/in/talk one.wav", output_path="s3://talks/out", formats=("txt",)), settings
    )
    assert other is not None
    assert other.write(TRANSCRIPT) == ["s3://talks/out/talk one-2.txt"]
    single = output_place(request(output_path="s3://talks/out/minutes.srt"), settings)
    assert single is not None
    assert single.write(TRANSCRIPT) == ["s3://talks/out/minutes.srt"]


def test_a_broken_bucket_is_named_before_the_work_and_costs_no_transcript_after_it(settings: Settings) -> None:
    place = output_place(request(output_path="s3://missing/x", formats=("txt",)), settings)
    assert place is not None
    with pytest.raises(errors.BucketUnavailable, match=r"s3://missing/x cannot be used \(.*bucket"):
        place.prepare()
    found: list[OutputNotWritable] = []
    with pytest.raises(errors.BucketUnavailable):
        place.write(TRANSCRIPT, found)


def test_a_store_that_is_down_is_an_error_within_a_minute(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"endpoint_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(errors.BucketUnavailable, match=r"127\.0\.0\.1"), opened("s3://talks/in/talk one.wav", settings):
        pass


def test_a_presigned_url_is_read_like_any_other(settings: Settings, store: ObjectStore) -> None:
    with opened(store.presigned("talks", "in/talk one.wav"), settings) as path:
        assert path.read_bytes() == CLIP.read_bytes()


def test_a_missing_package_is_named(settings: Settings) -> None:
    allowed = settings.model_copy(update={"url_prefixes": ("gs://talks/",)})
    with pytest.raises(errors.BucketUnavailable, match=r"whisper-fleet\[gcs\]"), opened("gs://talks/x.wav", allowed):
        pass


@pytest.mark.parametrize("address", ["s3://", "/data/s3://x", "ftp://x/y", "s3:/x", ""])
def test_what_is_no_bucket(address: str) -> None:
    assert not is_bucket(address)
