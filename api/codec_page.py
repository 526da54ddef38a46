"""The page `/codec`, where an operator signs in so that the Temporal web UI can decrypt payloads. It has no scripts."""

from html import escape

SECURE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hookkeeper: read payloads</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
  input {{ font: inherit; width: 100%; padding: .4rem; box-sizing: border-box; }}
  button {{ font: inherit; padding: .4rem 1rem; margin-top: .8rem; }}
  code {{ background: #8882; padding: .1rem .3rem; }}
</style>
<h1>Read payloads in the Temporal web UI</h1>
{body}
</html>
"""
FORM = """<p>Payloads in Temporal are encrypted. Enter the admin key to decrypt them in this browser for 12 hours.</p>
{error}
<form method="post" action="/codec">
  <label for="key">Admin key</label>
  <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
  <button>Sign in</button>
</form>
"""
SIGNED_IN = """<p><strong>Signed in</strong> for 12 hours.{link}</p>
<p>If the web UI reports that the codec server could not connect, configure it once in each browser to send the cookie:
click the glasses at the top, choose <em>Use my browser setting and ignore Cluster-level setting</em>, enter</p>
<p><code>{endpoint}</code></p>
<p>switch on <em>Include cross-origin credentials</em>, and apply. With
<code>TEMPORAL_CODEC_INCLUDE_CREDENTIALS=true</code>, a web UI does so by default; the one of
<code>hookkeeper dev</code> has no such setting.</p>
<form method="post" action="/codec"><button name="end" value="1">Sign out</button></form>
"""


def sign_in_page(error: str = "") -> str:
    """Return the page with the form for the admin key."""
    return PAGE.format(body=FORM.format(error=f"<p role=alert><strong>{escape(error)}</strong></p>" if error else ""))


def signed_in_page(endpoint: str, ui_url: str | None) -> str:
    """Return the page that describes the settings of the web UI."""
    link = f' Go to <a href="{escape(ui_url)}">the web UI</a>.' if ui_url else ""
    return PAGE.format(body=SIGNED_IN.format(link=link, endpoint=escape(endpoint)))
