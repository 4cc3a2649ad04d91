"""`GET /` and the files of the page. They need no API key: they hold nothing but the program that asks for one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.page.assets import PREFIX, Asset, load_assets

router = APIRouter(include_in_schema=False)

#: Only what this server sends may run, load or be reached; no page may frame this one; no text becomes HTML.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "media-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_SECURITY = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/")
async def index(request: Request) -> Response:
    """Send the page, or 304 if the browser has this version of it."""
    assets = load_assets()
    headers = {**_SECURITY, "cache-control": "no-cache", "etag": f'"{assets.digest}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return _response(assets.index, headers)


@router.get(PREFIX + "/{digest}/{path:path}")
async def asset(digest: str, path: str) -> Response:
    """Send a file of the page. Another server's version of it is sent too, but not kept: servers may be upgraded."""
    assets = load_assets()
    found = assets.by_path.get(path)
    if found is None:
        raise ApiError(404, "no such file")
    is_current = digest == assets.digest
    return _response(found, {**_SECURITY, "cache-control": _FOR_EVER if is_current else "no-store"})


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Send the icon to a browser that looks for it where it always was."""
    return _response(load_assets().by_path["icon.svg"], {**_SECURITY, "cache-control": "public, max-age=86400"})


def _response(asset: Asset, headers: dict[str, str]) -> Response:
    return Response(asset.content, headers=headers, media_type=asset.media_type)
