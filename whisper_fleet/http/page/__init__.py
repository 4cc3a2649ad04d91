"""The web page at `/`: static files that use the API as any other client does; see docs/guide/web-page.md."""
