"""What a client of the jobs API asks for, as keywords of a job. Pure.

It comes as JSON, or as the fields of a form beside a file. The keywords are the request options of every job, except
that the tenant is the caller's and that `model` may be a name of OpenAI's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.model_names import model_of
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.http.api_keys import Scope
from whisper_fleet.shared.http.uploads import SCHEME
from whisper_fleet.shared.request.parsing import FleetDefaults, describe_options, parse_request
from whisper_fleet.shared.settings import Settings

#: The stored file that a job transcribes: of /v1/files or a resumable upload.
FILE_ID = "file_id"
#: Whether the stored file stays when the job has ended; true if left out.
KEEP_FILE = "keep_file"
#: The label that keeps the name that the client's file had.
FILE_NAME_LABEL = "file_name"


def job_keywords(given: Mapping[str, Any], caller: Caller, settings: Settings) -> dict[str, Any]:
    """Return the keywords of a job, and `file_id` if the client gave one; raises ApiError or a RequestError."""
    keywords = {name: value for name, value in given.items() if value is not None}
    if "model" in keywords:
        keywords.setdefault("model_name", keywords.pop("model"))
    if "model_name" in keywords:
        keywords["model_name"] = model_of(str(keywords["model_name"]), settings)
    keywords["tenant"] = _tenant(keywords.get("tenant"), caller)
    for name in ("file_path", "output_path"):
        _check_place(name, keywords.get(name), caller, settings)
    _check(keywords, settings)
    return keywords


def fields_as_values(fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the fields of a form as values: as JSON where an option is no text, `labels` also as name=value."""
    for name, values in fields.items():
        if len(values) > 1:
            raise ApiError(400, f"{name} was sent {len(values)} times", param=name)
    return {name: _value(name, values[0]) for name, values in fields.items() if values[0] != ""}


def _value(name: str, text: str) -> Any:
    if name in _text_options():
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


@cache
def _text_options() -> frozenset[str]:
    texts = {field.name for field in describe_options() if field.type.startswith(("text", "one of"))}
    return frozenset(texts | {"model", FILE_ID})


def _tenant(named: Any, caller: Caller) -> str:
    if named is None:
        return caller.tenant
    if not isinstance(named, str) or (named != caller.tenant and not caller.may_see(named)):
        raise ApiError(403, "this API key belongs to another tenant: leave out tenant", param="tenant")
    return named


def _check_place(name: str, place: Any, caller: Caller, settings: Settings) -> None:
    """Raise ApiError for a path of the fleet's machines that the caller may not name.

    With API keys, callers are on other machines: they may name paths only where the settings say which.
    """
    if not isinstance(place, str):
        return
    if place.startswith(f"{SCHEME}://"):
        raise ApiError(400, f"{name}: name an uploaded file by {FILE_ID}", param=name)
    is_on_disk = not is_url(place)
    if is_on_disk and caller.key is not None and not settings.media_roots and Scope.ADMIN not in caller.scopes:
        reason = "paths need WHISPER_FLEET_MEDIA_ROOTS, which this fleet does not set: upload the file or name a URL"
        raise ApiError(403, f"{name}: {reason}", param=name)


def _check(keywords: Mapping[str, Any], settings: Settings) -> None:
    """Raise the RequestError of an option now, before anything is stored for the job."""
    options = {name: value for name, value in keywords.items() if name not in (FILE_ID, KEEP_FILE)}
    parse_request({**options, "file_path": options.get("file_path", "/")}, FleetDefaults.of(settings))
