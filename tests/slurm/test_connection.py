from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from daemons import missing_for, runs, wait_for
from local_sshd import PACKAGES, LocalSshd

from hts_flows.errors import HtsError
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.connection import LONGEST_LINE, Answer, ClusterUnreachableError, Connection


@pytest.fixture(scope="module")
def sshd():
    if reason := missing_for(PACKAGES):
        pytest.skip(f"sshd {reason}")
    folder = Path(tempfile.mkdtemp(prefix="hts-sshd-"))
    (folder / "noise.sh").write_text("echo Welcome to the cluster\necho 'quota: error' >&2\n")
    # bash runs it first, as it does with login scripts.
    server = LocalSshd(folder, {"BASH_ENV": str(folder / "noise.sh")})
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def short_home(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="hts-") as folder:
        monkeypatch.setenv("HTS_HOME", folder)
        yield Path(folder)


@pytest.fixture
def connect(sshd, short_home):
    opened = []

    def make(host=None, options=None, **settings):
        content = {"name": "far", "host": host or sshd.host, "scratch": "/tmp", "python": "python3"}  # noqa: S108
        connection = Connection(Cluster.model_validate(content | {"ssh_options": options or sshd.options} | settings))
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture(params=["local", "ssh"])
def connection(request):
    """A connection of each kind: what they do must not differ."""
    if request.param == "local":
        return Connection(Cluster(name="here"))
    return request.getfixturevalue("connect")()


def test_a_command_gives_what_it_prints_and_its_code(connection):
    answer = connection.run("cat; echo wrong >&2; exit 255", stdin="in'put\n$HOME")
    assert answer == Answer("in'put\n$HOME", "wrong\n", 255)
    assert connection.calls == 1


def test_files_are_read_with_one_command(connection, tmp_path):
    (tmp_path / "a b'c").write_text("".join(f"line {number}\n" for number in range(100)))
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20 + b"\nlast")
    (tmp_path / "wide").write_text("x" * 100_000 + "\nend\n")
    (tmp_path / "empty").touch()
    names = ["a b'c", "binary", "wide", "empty", "missing", "."]
    found = connection.read_tails([str(tmp_path / name) for name in names], 3)
    assert connection.calls == 1
    assert {Path(path).name for path in found} == {"a b'c", "binary", "wide", "empty"}
    assert found[str(tmp_path / "a b'c")] == "line 97\nline 98\nline 99\n"
    assert found[str(tmp_path / "binary")].endswith("\nlast\n")
    first, last = found[str(tmp_path / "wide")].splitlines()
    assert (len(first), last) == (LONGEST_LINE, "end")
    assert found[str(tmp_path / "empty")] == ""


def test_thousands_of_files_are_one_command(connection, tmp_path):
    paths = [str(tmp_path / f"a-rather-long-name-of-a-folder-{number}/queue.err") for number in range(3000)]
    Path(paths[-1]).parent.mkdir()
    Path(paths[-1]).write_text("here\n")
    assert connection.read_tails(paths) == {paths[-1]: "here\n"}
    assert connection.calls == 1


def test_a_private_file_is_for_its_owner_alone(connection, tmp_path):
    path = tmp_path / "new folder" / "it's.sh"
    for text in ("export A='1'\n", "Å\n" * 100_000):
        connection.write_private(str(path), text)
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(connection):
    with pytest.raises(HtsError, match=r"cannot write /proc/nowhere/file: mkdir.*\n.*clusters\.(here|far)\.scratch"):
        connection.write_private("/proc/nowhere/file", "x")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    connection = Connection(Cluster(name="here"))
    begun = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match=r"'here': no answer within 0\.5 s") as caught:
        connection.run(f"echo so far >&2; sleep 60 & echo $! > {tmp_path}/pid; wait", timeout=0.5)
    assert time.monotonic() - begun < 5
    assert caught.value.output == "so far\n"
    child = int((tmp_path / "pid").read_text())
    wait_for("end of the child", lambda: not psutil.pid_exists(child) or not runs(psutil.Process(child)), 5)


@pytest.mark.parametrize(("host", "program"), [(None, "sh"), ("somewhere", "ssh")])
def test_a_missing_program_is_named(tmp_path, monkeypatch, host, program):
    cluster = Cluster(name="c", host=host, scratch="/s", python="p")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterUnreachableError, match=f"{program} cannot be run on this machine") as caught:
        Connection(cluster).run("true")
    assert caught.value.hint == f"install {program}, or add its folder to PATH"


def test_the_next_command_uses_the_open_connection(connect, sshd, short_home):
    connection = connect()
    connection.run("true")
    [socket] = (short_home / "ssh").iterdir()
    assert (short_home / "ssh").stat().st_mode & 0o777 == 0o700
    # A port that nothing listens on: a new connection could not be made.
    assert connection.run("echo $SSH_CONNECTION").stdout == connection.run("echo $SSH_CONNECTION").stdout
    connection.close()
    assert not socket.exists()


def test_a_home_with_a_long_name_is_no_obstacle(connect, short_home, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(short_home))
    monkeypatch.setenv("HTS_HOME", str(tmp_path / ("x" * 100)))
    assert connect().run("echo yes").stdout == "yes\n"
    [folder] = short_home.glob("hts-ssh-*")
    assert len(list(folder.iterdir())) == 1


def test_what_is_wrong_with_ssh_is_told(connect, sshd, tmp_path):
    wrong_key, unknown = list(sshd.options), list(sshd.options)
    other = tmp_path / "key"
    shutil.copy(sshd.folder / "host_key", other)
    wrong_key[wrong_key.index(str(sshd.key))] = str(other)
    unknown = [word.replace(str(sshd.known_hosts), "/dev/null") for word in unknown]
    for make, said, hint in (
        (lambda: connect(options=wrong_key), "Permission denied", "ssh-add"),
        (lambda: connect(options=unknown), "Host key verification failed", "connect once by hand"),
        (lambda: connect(host="nowhere.invalid"), "Could not resolve hostname", "clusters.far.host"),
        (lambda: connect(options=["-F", "/dev/null", "-p", "1"]), "Connection refused", "port in ssh_options"),
    ):
        with pytest.raises(ClusterUnreachableError, match=f"'far' cannot be reached with ssh .*{said}") as caught:
            make().run("true")
        assert hint in str(caught.value.hint)


def test_a_server_that_goes_away_is_noticed_and_found_again(connect, sshd):
    connection = connect()
    assert connection.run("echo one").stdout == "one\n"
    sshd.stop()
    with pytest.raises(ClusterUnreachableError):
        connection.run("echo two")
    sshd.start()
    assert connection.run("echo three").stdout == "three\n"


def test_an_answer_that_is_cut_off_is_no_answer(connect):
    with pytest.raises(ClusterUnreachableError, match="the answer was cut off"):
        connect().run("echo half; sleep 0.3; kill -9 $PPID $$")
