"""`/`: what this is and how to push, for whoever opens the address in a browser. The console takes its place."""

from __future__ import annotations

import html
import urllib.parse

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Breakwater at {host}</title>
<style>
:root {{ color-scheme: light dark; --ink: #17212b; --soft: #55636f; --line: #d5dde3; --ground: #f6f8f9; --card: #fff;
  --code: #eef2f4; --accent: #0b6e99 }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6edf2; --soft: #9fb0bc; --line: #2b3842; --ground: #0f161b;
  --card: #161f26; --code: #0b1115; --accent: #5bb8e0 }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; padding: 3rem 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }}
main {{ max-width: 46rem; margin: auto }}
h1 {{ font-size: 1.9rem; margin: 0 0 .25rem }}
h2 {{ font-size: 1.05rem; margin: 0 0 .6rem }}
p {{ margin: 0 0 1rem }} .soft {{ color: var(--soft) }}
section {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem 1.4rem;
  margin-top: 1.2rem }}
pre {{ background: var(--code); border-radius: 6px; padding: .8rem 1rem; margin: 0; overflow-x: auto;
  font: 14px/1.6 ui-monospace, "DejaVu Sans Mono", monospace }}
section p:last-child {{ margin: .8rem 0 0 }}
a {{ color: var(--accent) }}
</style>
<main>
<h1>Breakwater</h1>
<p class="soft">This is a container registry, and it runs. Images, charts and other OCI artifacts live here in
projects.</p>
<section>
<h2>Push an image</h2>
<pre>docker login {host}
docker tag alpine:3.20 {host}/library/alpine:3.20
docker push {host}/library/alpine:3.20</pre>
<p class="soft">Sign in as <code>admin</code> with the password that the first start printed, or better as a robot of
the project.{note}</p>
</section>
<section>
<h2>Create a project</h2>
<pre>curl -u admin -H 'Content-Type: application/json' \\
     -d '{{"project_name": "team", "metadata": {{"public": "false"}}}}' \\
     {url}/api/v2.0/projects</pre>
</section>
<section>
<h2>See how it is</h2>
<p><a href="/api/v2.0/health">/api/v2.0/health</a> · <a href="/api/v2.0/projects">public projects</a> ·
<a href="/api/v2.0/systeminfo">about this system</a></p>
</section>
</main>
</html>
"""
_PLAIN = (
    " Docker speaks plain HTTP to this machine itself only; others need a certificate (BREAKWATER_TLS_CERT)."
)


def page(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    url: str = request.META.get("breakwater.base_url", "")
    parts = urllib.parse.urlsplit(url)
    text = _PAGE.format(
        host=html.escape(parts.netloc), url=html.escape(url), note=_PLAIN if parts.scheme == "http" else ""
    )
    response = HttpResponse(text)
    response["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-cache"
    return response
