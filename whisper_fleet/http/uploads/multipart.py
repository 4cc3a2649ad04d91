"""Reads multipart/form-data: fields into memory, within limits, and files to disk, whatever their size."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.uploads.body import body_of
from whisper_fleet.http.uploads.store import Incoming, Upload, UploadStore
from whisper_fleet.shared.http.upload_keepers import RENEWAL_SECONDS

#: Bytes of one field, of all fields together, and of everything in a body that is not a file's content.
_FIELD_BYTES, _FIELDS_BYTES, _OVERHEAD_BYTES = 2**16, 2**20, 2**21
_MOST_PARTS = 200


@dataclass
class Form:
    """What a client sent: fields by name, in order, each with all its values; and files by the field's name."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)  # ids of uploads that someone else keeps from now on

    def keep(self, upload: Upload) -> None:
        """Leave an upload to its keeper: a job, or a lease."""
        self.kept.add(upload.id)


@asynccontextmanager
async def received_form(
    request: Request, uploads: UploadStore, *, files: tuple[str, ...] = ("file",)
) -> AsyncIterator[Form]:
    """Read a form whose files may be in the fields `files`; uploads that nobody keeps are deleted afterwards.

    Raises ApiError 400 for a malformed form, 413 for one that is too large, 415 for a body of another type.
    """
    form = Form()
    try:
        await _Reader(form, uploads, files).read(request)
        yield form
    finally:
        for upload in form.files.values():
            if upload.id not in form.kept:
                await uploads.delete(upload.id)


@dataclass(frozen=True)
class _Begin:
    """A part begins: its field's name, and its file's name if it is a file."""

    name: str
    file_name: str | None


class _Events:
    """The parser's callbacks: they read the headers of parts, and collect the rest for a reader that can wait."""

    def __init__(self) -> None:
        self.waiting: list[_Begin | bytes | None] = []  # a part's begin, its data, its end
        self.has_ended = False
        self._headers: dict[str, bytes] = {}
        self._name, self._value = b"", b""

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": lambda data, start, end: self.waiting.append(bytes(data[start:end])),
            "on_part_end": lambda: self.waiting.append(None),
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        if b"name" not in options:
            raise ApiError(400, "a part of the form has no name")
        file_name = options.get(b"filename")
        self.waiting.append(_Begin(_text(options[b"name"]), None if file_name is None else _text(file_name)))

    def _on_end(self) -> None:
        self.has_ended = True


class _Reader:
    """Reads one form into `form`."""

    def __init__(self, form: Form, uploads: UploadStore, files: tuple[str, ...]) -> None:
        self._form, self._uploads, self._file_fields = form, uploads, files
        self._name = ""
        self._value = bytearray()
        self._file: Incoming | None = None
        self._open_file = AsyncExitStack()
        self._parts, self._field_bytes = 0, 0
        self._renewed = time.monotonic()

    async def read(self, request: Request) -> None:
        """Read the body to its end."""
        events = _Events()
        parser = _parser(request, events)
        async with self._open_file:
            async for piece in body_of(request, self._uploads.limit + _OVERHEAD_BYTES):
                try:
                    parser.write(piece)
                except MultipartParseError as error:
                    raise _malformed(error) from None
                for event in events.waiting:
                    await self._handle(event)
                events.waiting.clear()
                await self._renew()
            if not events.has_ended:
                raise ApiError(400, "the form ends before its last boundary")
            await self._renew(after=0.0)

    async def _renew(self, after: float | None = None) -> None:
        """Renew the leases of the uploads if that was so long ago: a slow body may take hours."""
        if time.monotonic() - self._renewed < (RENEWAL_SECONDS if after is None else after):
            return
        receiving = [] if self._file is None else [self._file.upload]
        for upload in (*receiving, *(upload.id for upload in self._form.files.values())):
            await self._uploads.keep_receiving(upload)
        self._renewed = time.monotonic()

    async def _handle(self, event: _Begin | bytes | None) -> None:
        if isinstance(event, _Begin):
            await self._begin(event)
        elif event is None:
            await self._end()
        elif self._file is not None:
            await self._file.write(event)
        else:
            self._extend(event)

    async def _begin(self, part: _Begin) -> None:
        """Begin a field, or a file: a part is one if it names a file, or if a file belongs into its field."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ApiError(400, f"the form has more than {_MOST_PARTS} parts")
        self._name, self._value = part.name, bytearray()
        if part.name in self._file_fields:
            if part.name in self._form.files:
                raise ApiError(400, f"the form has two files {part.name!r}", param=part.name)
            self._file = await self._open_file.enter_async_context(self._uploads.receiving(part.file_name or ""))

    async def _end(self) -> None:
        if self._file is not None:
            self._form.files[self._name] = await self._file.finish()
            self._file = None
            await self._open_file.aclose()
            return
        try:
            value = self._value.decode()
        except UnicodeDecodeError:
            raise ApiError(400, f"the field {self._name!r} is not UTF-8", param=self._name) from None
        self._form.fields.setdefault(self._name, []).append(value)

    def _extend(self, data: bytes) -> None:
        self._value += data
        self._field_bytes += len(data)
        if len(self._value) > _FIELD_BYTES or self._field_bytes > _FIELDS_BYTES:
            raise ApiError(400, f"the field {self._name[:100]!r} is too long", param=self._name[:100])


def _parser(request: Request, events: _Events) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind.lower() != b"multipart/form-data":
        raise ApiError(415, "send the file as multipart/form-data")
    if not options.get(b"boundary"):
        raise ApiError(400, "the Content-Type of the form lacks its boundary")
    try:
        return MultipartParser(options[b"boundary"], events.callbacks())  # type: ignore[arg-type]  # a TypedDict
    except (MultipartParseError, ValueError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> ApiError:
    return ApiError(400, f"the form is malformed: {error}")


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
