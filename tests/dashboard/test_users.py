"""Users, sessions and the limit of wrong logins."""

from __future__ import annotations

import pytest

from hts_flows.dashboard.access.login_limit import FORGET_SECONDS, LONGEST_WAIT, LoginLimit
from hts_flows.dashboard.access.sessions import MOST_SESSIONS, Sessions
from hts_flows.dashboard.access.users import Users, users_file
from hts_flows.dashboard.configuration import is_loopback
from hts_flows.dashboard.server import prepare_dashboard
from hts_flows.errors import InputError

PASSWORD = "correct horse battery"


class Clock:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def users(tmp_path):
    return Users(tmp_path / "users.yaml")


def test_the_file_holds_hashes_that_only_its_owner_reads(users):
    users.add("anna", "operator", PASSWORD)
    assert users.file.stat().st_mode & 0o777 == 0o600
    text = users.file.read_text()
    assert PASSWORD not in text
    assert "$argon2id$" in text
    assert users.login("anna", PASSWORD).role == "operator"
    assert users.login("anna", PASSWORD + "x") is None
    assert users.login("nobody", PASSWORD) is None


def test_a_change_of_the_file_by_another_process_holds_at_once(users):
    users.add("anna", "viewer", PASSWORD)
    other = Users(users.file)
    assert other.all()["anna"].role == "viewer"
    users.add("anna", "operator", PASSWORD)
    assert other.all()["anna"].role == "operator"
    users.remove("anna")
    assert other.all() == {}


def test_a_file_that_others_can_read_is_refused(users):
    users.add("anna", "viewer", PASSWORD)
    users.file.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others") as error:
        Users(users.file).all()
    assert "chmod 600" in error.value.hint


@pytest.mark.parametrize(
    ("name", "role", "password", "said"),
    [
        ("a b", "viewer", PASSWORD, "user name 'a b'"),
        ("", "viewer", PASSWORD, "user name ''"),
        ("anna", "operater", PASSWORD, "did you mean 'operator'"),
        ("anna", "viewer", "short", "has 5 characters; 10"),
    ],
)
def test_what_cannot_be_a_user_is_refused(users, name, role, password, said):
    with pytest.raises(InputError, match=said):
        users.add(name, role, password)
    assert not users.file.exists()


def test_a_damaged_file_is_named_with_its_place(users):
    users.file.write_text("anna: {role: boss, password: $argon2id$x}\n")
    users.file.chmod(0o600)
    with pytest.raises(InputError, match=r"users\.yaml: anna\.role"):
        users.all()


def test_an_unknown_user_to_remove_is_refused_with_the_nearest(users):
    users.add("anna", "viewer", PASSWORD)
    with pytest.raises(InputError, match="did you mean 'anna'"):
        users.remove("ana")


def test_a_session_ends_when_it_is_not_used():
    clock = Clock()
    sessions = Sessions(hours=1, clock=clock)
    cookie = sessions.start("anna", "viewer")
    clock.now += 3599
    assert sessions.find(cookie).user == "anna"
    clock.now += 3599
    assert sessions.find(cookie) is not None
    clock.now += 3601
    assert sessions.find(cookie) is None
    assert sessions.find("x") is None
    assert sessions.find(None) is None


def test_sessions_do_not_grow_without_end():
    sessions = Sessions(hours=1)
    first = sessions.start("first", "viewer")
    for _ in range(MOST_SESSIONS):
        last = sessions.start("anna", "viewer")
    assert sessions.find(first) is None
    assert sessions.find(last) is not None


def test_each_further_wrong_login_makes_the_next_wait_longer():
    clock = Clock()
    limit = LoginLimit(free=3, clock=clock)
    assert [limit.begin("here") for _ in range(3)] == [0, 0, 0]
    first = limit.begin("here")
    assert first > 0
    assert limit.begin("elsewhere") == 0
    clock.now += first
    assert limit.begin("here") == 0
    assert limit.begin("here") > first
    for _ in range(40):
        clock.now += LONGEST_WAIT
        limit.begin("here")
    assert limit.begin("here") <= LONGEST_WAIT
    clock.now += FORGET_SECONDS + 1
    assert limit.begin("here") == 0


def test_a_right_login_forgets_the_wrong_ones():
    limit = LoginLimit(free=2, clock=Clock())
    for _ in range(10):
        assert limit.begin("here") == 0
        limit.succeeded("here")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_addresses_of_this_machine_alone_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "login.example.org"])  # noqa: S104 (nothing is bound)
def test_other_addresses_are_not_taken_for_this_machine_alone(host):
    assert not is_loopback(host)


def test_a_file_that_others_can_read_from_now_on_is_refused_at_once(users):
    users.add("anna", "viewer", PASSWORD)
    assert users.all()
    users.file.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others"):
        users.all()


@pytest.mark.parametrize(
    ("host", "said"),
    [("", "--host ''"), ("nosuch.invalid", "cannot listen on nosuch"), ("192.0.2.1", "cannot listen on 192.0.2.1")],
)
def test_a_host_that_cannot_be_is_named_with_what_is_wrong(settings, database, host, said):
    Users(users_file(settings)).add("anna", "viewer", PASSWORD)
    with pytest.raises(InputError, match=said) as error:
        prepare_dashboard(settings, host=host)
    assert "another dashboard" not in str(error.value)
    assert "address" in error.value.hint
