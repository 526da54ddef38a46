"""Session cookies are valid for their time, their admin key and their purpose only."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from api.sessions import CODEC, SESSION, SESSION_DURATION, SessionCookie
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now
from instances import KEY

SETTINGS = Settings(admin_key=SecretStr(KEY))
OTHER = Settings(admin_key=SecretStr("another-admin-key"))
NOW = utc_now()


@pytest.mark.parametrize("cookie", [CODEC, SESSION])
def test_a_token_is_valid_for_its_time_key_and_purpose_only(cookie: SessionCookie) -> None:
    token = cookie.token("key_1", SETTINGS, NOW)
    assert KEY not in token
    assert cookie.subject(token, SETTINGS, NOW + SESSION_DURATION - timedelta(seconds=2)) == "key_1"
    assert cookie.subject(token, SETTINGS, NOW + SESSION_DURATION) is None
    assert cookie.subject(token, OTHER, NOW) is None
    other = SESSION if cookie is CODEC else CODEC
    assert other.subject(token, SETTINGS, NOW) is None


def test_a_changed_token_is_invalid() -> None:
    token = SESSION.token("key_1", SETTINGS, NOW)
    subject, until, mac = token.split(".")
    for forged in (
        *("", ".", "..", token + "0", "x." + mac, f".{until}.{mac}", f"{subject}.{until}.ü", f"{subject}.{until}"),
        f"admin.{until}.{mac}",
        f"{subject}.{int(until) + 1}.{mac}",
        f"{subject}.{until}.{'0' * 64}",
        f"{subject}.{until}.{SESSION.proof(token, SETTINGS)}",
    ):
        assert SESSION.subject(forged, SETTINGS, NOW) is None, forged


def test_a_form_token_is_valid_in_its_session_only() -> None:
    mine, theirs = (SESSION.token(key_id, SETTINGS, NOW) for key_id in ("key_1", "key_2"))
    proof = SESSION.proof(mine, SETTINGS)
    assert SESSION.is_proof(proof, mine, SETTINGS)
    for given, token in ((proof, theirs), (proof, ""), ("", mine), ("ü", mine), (mine, mine)):
        assert not SESSION.is_proof(given, token, SETTINGS)
