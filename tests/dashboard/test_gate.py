"""What every request has to pass."""

from __future__ import annotations

import contextlib
import logging
import re

import pytest
import requests
from serving import PASSWORD

from hts_flows.dashboard.access.gate import HEADERS
from hts_flows.dashboard.app import create_app

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def routes(site):
    """Every route with a method and an address that has something in each place."""
    app = create_app(site.dashboard)
    known = [context for route in app.routes if hasattr(route, "effective_route_contexts")
             for context in route.effective_route_contexts()]  # fmt: skip
    return sorted({(method, re.sub(r"{[^}]*}", "1", route.path)) for route in known for method in route.methods})


def test_every_route_without_a_session_answers_401_or_leads_to_the_login(site):
    found = routes(site)
    assert len(found) > 20
    for method, path in found:
        if path == "/login" or path.startswith("/static"):
            continue
        answer = requests.request(method, site.address.rstrip("/") + path, timeout=30, allow_redirects=False)
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/login?next=")
        else:
            assert answer.status_code == 401, (method, path)
        assert b"csrf" not in answer.content


def test_every_changing_route_without_a_csrf_token_answers_403_and_changes_nothing(site, database):
    client = site.client()
    del client.headers["X-CSRF-Token"]
    before = {name: list(database.mongo[name].find()) for name in database.mongo.list_collection_names()}
    changing = [(method, path) for method, path in routes(site) if method not in {"GET", "HEAD", "OPTIONS"}]
    assert len(changing) > 5
    for method, path in changing:
        if path == "/login":
            continue
        for wrong in ({}, {"X-CSRF-Token": "x"}):
            answer = client.request(method, site.address.rstrip("/") + path, json={}, headers=wrong, timeout=30)
            assert answer.status_code == 403, (method, path, answer.text)
        answer = client.request(
            method, site.address.rstrip("/") + path, data={"csrf_token": "x"}, headers=FORM, timeout=30
        )
        assert answer.status_code == 403, (method, path, answer.text)
    assert {name: list(database.mongo[name].find()) for name in database.mongo.list_collection_names()} == before


@pytest.mark.parametrize(
    "forged",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_of_another_site_is_refused_though_it_has_cookie_and_token(site, forged):
    client = site.client()
    answer = client.post(f"{site.address}logout", headers=forged, timeout=30)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert site.get(client, "api/session").status_code == 200


def test_a_login_of_another_site_is_refused(site):
    site.add_user("anna", "viewer")
    data = {"user": "anna", "password": PASSWORD}
    headers = {"Origin": "http://evil.example"}
    assert requests.post(f"{site.address}login", data=data, headers=headers, timeout=30).status_code == 403


def test_another_host_name_is_refused_on_the_address_of_this_machine(site):
    answer = requests.get(site.address, headers={"Host": "evil.example"}, timeout=30)
    assert answer.status_code == 400
    assert "does not go by the name 'evil.example'" in answer.text
    port = site.dashboard.configuration.port
    there = requests.get(site.login, headers={"Host": f"localhost:{port}"}, timeout=30, allow_redirects=False)
    assert there.status_code == 303


def test_every_answer_has_the_security_headers(site):
    client = site.client()
    for path in ("", "nothing", "api/session", "api/nothing", "login", "static/dashboard.css", "static/nothing"):
        answer = site.get(client, path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
    assert site.get(client, "").headers["Cache-Control"] == "no-store"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site):
    answer = requests.get(site.login, timeout=30, allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert str(site.dashboard.configuration.port) in cookie.partition("=")[0]


def test_the_link_logs_in_and_a_wrong_one_does_not(site):
    answer = requests.get(site.login, timeout=30, allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    wrong = requests.get(f"{site.address}login?token=wrong", timeout=30)
    assert wrong.status_code == 401
    assert "another start" in wrong.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/\t/x"]
)
def test_a_login_leads_nowhere_but_here(site, target):
    answer = requests.get(site.login, params={"next": target}, timeout=30, allow_redirects=False)
    assert answer.headers["location"] == "/"
    answer = requests.get(site.login, params={"next": "/jobs?state=FIZZLED"}, timeout=30, allow_redirects=False)
    assert answer.headers["location"] == "/jobs?state=FIZZLED"


def test_wrong_passwords_are_slowed_down_and_the_right_one_waits_too(site):
    site.add_user("anna", "viewer")
    data = {"user": "anna", "password": "wrong password"}
    codes = [requests.post(f"{site.address}login", data=data, timeout=30).status_code for _ in range(7)]
    assert codes[:5] == [401] * 5
    assert 429 in codes[5:]
    answer = requests.post(f"{site.address}login", data=data | {"password": PASSWORD}, timeout=30)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_removed_user_a_new_role_and_a_new_password_end_the_session(site):
    for change in (
        lambda users: users.remove("anna"),
        lambda users: users.add("anna", "operator", PASSWORD),
        lambda users: users.add("anna", "viewer", PASSWORD + "!"),
    ):
        site.add_user("anna", "viewer")
        client = site.client("anna")
        assert site.get(client, "api/session").json()["role"] == "viewer"
        change(site.dashboard.users)
        assert site.get(client, "api/session").status_code == 401


def test_logging_out_ends_the_session(site):
    client = site.client()
    cookies = client.cookies.copy()
    assert site.post(client, "logout").status_code == 303
    client.cookies = cookies
    assert site.get(client, "api/session").status_code == 401


def test_a_long_body_is_refused_before_it_is_read(site):
    client = site.client()
    answer = client.post(f"{site.address}api/resubmissions/plan", data=b"x" * 1_000_001, timeout=30)
    assert answer.status_code == 413
    with contextlib.suppress(requests.ConnectionError):
        chunked = client.post(f"{site.address}api/resubmissions/plan", data=iter([b"x" * 1000]), timeout=30)
        assert chunked.status_code == 413


def test_the_log_holds_no_token_password_or_cookie(site, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    site.add_user("anna", "viewer")
    client = site.client("anna")
    site.client()
    site.get(client, f"login?token={site.dashboard.token}")
    site.get(client, "api/nothing")
    out, err = capfd.readouterr()
    # The client's own log shows its requests; only the server's is looked at.
    log = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("urllib3"))
    secrets = [site.dashboard.token, PASSWORD, client.headers["X-CSRF-Token"], *client.cookies.values()]
    for secret in secrets:
        assert secret not in log + out + err


def test_a_form_of_somebody_whose_login_has_ended_leads_to_the_login_and_programs_get_json(site):
    for path in ("logout", "resubmit", "queue/pause"):
        answer = requests.post(site.address + path, data={"a": "b"}, timeout=30, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/")
    answer = requests.post(f"{site.address}api/resubmissions/plan", json={}, timeout=30)
    assert answer.status_code == 401
    assert answer.json()["error"] == "not logged in"


def test_a_long_form_is_refused_with_a_page(site):
    answer = site.client().post(f"{site.address}resubmit", data=b"x" * 1_000_001, headers=FORM, timeout=30)
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")
    assert "longer than 1,000,000 bytes" in answer.text


def test_an_address_with_nul_is_refused_in_words(site):
    client = site.client()
    for path in ("api/candidates/%00", "candidates/a%00b", "jobs?text=%00"):
        answer = site.get(client, path)
        assert answer.status_code == 400, path
        assert "NUL" in answer.text


def test_a_form_may_have_thousands_of_fields(site):
    client = site.client()
    token = client.headers.pop("X-CSRF-Token")
    data = [("csrf_token", token)] + [("id", str(number)) for number in range(3000)]
    answer = client.post(f"{site.address}logout", data=data, timeout=30, allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("damage", ["text", "binary", "list", "mode"])
def test_a_damaged_users_file_ends_their_sessions_and_nothing_else(site, caplog, damage):
    site.add_user("anna", "viewer")
    hers, token = site.client("anna"), site.client()
    file = site.dashboard.users.file
    before = file.read_bytes()
    if damage == "mode":
        file.chmod(0o644)
    else:
        file.write_bytes({"text": b"anna: {role: boss}", "binary": b"\xff\xfe\x00a", "list": b"- anna"}[damage])
    assert site.get(hers, "api/session").status_code == 401
    answer = site.get(hers, "jobs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fjobs")
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert site.get(hers, "static/dashboard.css").status_code == 200
    assert site.get(token, "jobs").status_code == 200
    data = {"user": "anna", "password": PASSWORD}
    for _ in range(7):
        shown = requests.post(f"{site.address}login", data=data, timeout=30)
        assert shown.status_code == 503
        assert "users cannot log in now: ask whoever runs the dashboard" in shown.text
        assert str(file.parent) not in shown.text
    assert [record.levelname for record in caplog.records if str(file) in record.getMessage()] == ["ERROR"]
    # When it is mended they log in at once: nothing was counted as wrong.
    file.write_bytes(before)
    file.chmod(0o600)
    assert site.get(site.client("anna"), "api/session").status_code == 200
