# SPDX-License-Identifier: BSD-2-Clause
"""
Which id a client gets. The rule that keeps every QEMU alive: an id comes again only if no client
connected now was told of its last holder.
"""

import errno
import re
import resource

import pytest

import ivshmem_wire as wire


def connect_and_read_id(path):
    """As little as possible: connect, read version and id, close."""
    with wire.RawClient(path) as client:
        return client.numbers_without_fds(2)[1]


def visit(srv, witness, count):
    """
    So many clients come, and go when the witness has heard of all of them. Returns their ids, in the order in which they
    joined, and the number with which the one after them was refused, if there are fewer.
    """
    clients, refusal = [], None
    while len(clients) < count and refusal is None:
        client = srv.connect(keep_fds=False)
        (version,) = client.numbers_without_fds(1)
        if version == 0:
            (client.id,) = client.numbers_without_fds(1)
            clients.append(client)
        else:
            refusal = version
            client.assert_cut()
    ids = [client.id for client in clients]
    witness.follow_until_knows([witness.id, *ids])
    for client in clients:
        client.close()
        srv.clients.remove(client)
    witness.follow_until_knows([witness.id])
    witness.log.clear()
    return ids, refusal


def test_095_first_client_gets_0_and_ids_increase(server):
    srv = server()
    assert [srv.client().id for _ in range(5)] == [0, 1, 2, 3, 4]


def test_095_an_id_is_not_reused_at_once(server):
    srv = server()
    witness = srv.client()
    seen = {witness.id}
    for _ in range(300):
        (own,), _ = visit(srv, witness, 1)
        assert own not in seen
        seen.add(own)
    assert max(seen) == 300


def test_095_round_robin_also_when_nobody_watches(server):
    srv = server()
    assert [connect_and_read_id(srv.path) for _ in range(300)] == list(range(300))


@pytest.mark.long
@pytest.mark.limit(240)
def test_095_ids_wrap_around_a_client_that_stays(server):
    """
    65 500 clients come and go, then one stays: it never saw the low ids, so these may follow after
    65535; its own id is left out.
    """
    srv = server()
    before = 65500
    for expected in range(before):
        own = connect_and_read_id(srv.path)
        assert own == expected
    witness = srv.client(keep_fds=False)
    assert witness.id == before
    expected = list(range(before + 1, 65536)) + list(range(3000))
    got = []
    while len(got) < len(expected):
        got += visit(srv, witness, min(16, len(expected) - len(got)))[0]
    assert got == expected


@pytest.mark.limit(240)
def test_096_ids_run_out_and_come_back(server):
    """
    Somebody who stays was told of every other id: the next client is refused with a number that says
    why, the server lives on, and serves again when he has left. It takes 65 535 clients, because there
    is no other way.
    """
    srv = server()
    witness = srv.client(keep_fds=False)
    seen = set()
    refusal = None
    while refusal is None:
        ids, refusal = visit(srv, witness, 32)
        assert not seen & set(ids)
        seen.update(ids)
    assert refusal == -errno.ENOSPC
    assert seen == set(range(1, 65536))
    # The administrator was warned in time, once, with the remedy, and again when it was too late.
    (warning,) = (line for line in srv.lines("stderr") if "ids are used up" in line)
    used, oldest = map(int, re.search(r"(\d+) of 65536 ids .*; peer (\d+) has been there longest", warning).groups())
    assert 52400 <= used < 52400 + 512 and oldest == witness.id
    assert "observers' socket" in warning
    srv.expect(r"ivshmem-server: new clients are refused: no id can be used: .* join anew.*", "stderr")
    # Refused again, as long as the witness is there; and the server is as well as ever.
    with pytest.raises(wire.Refused):
        srv.client()
    witness.close()
    # When he has left, nobody remembers anything.
    wire.wait_until(lambda: len(srv.fds()) <= srv.idle_fds, "everybody has left")
    newcomer = srv.client()
    another = srv.client()
    newcomer.follow_until_knows([newcomer.id, another.id])


@pytest.mark.long
@pytest.mark.limit(240)
def test_096_65536_clients_connected(server):
    """The real thing: as many clients as there are ids, and one more."""
    if not wire.LONG:
        pytest.skip("needs 131 000 sockets; IVSHMEM_TEST_LONG=1 runs it")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 140000:
        pytest.skip("not enough descriptors allowed")
    srv = server(vectors=0)
    for expected in range(65536):
        client = srv.connect()
        assert client.numbers_without_fds(2) == [0, expected]
    refused = srv.connect()
    assert refused.numbers_without_fds(1) == [-errno.ENOSPC]
    refused.assert_cut()
    srv.clients[1234].close()
    wire.wait_until(lambda: len(srv.fds()) == srv.idle_fds + 65535, "the server notices")
    assert srv.connect().numbers_without_fds(2) == [0, 1234]


def test_096_max_peers_refuses_and_recovers(server):
    srv = server("--max-peers", "3")
    clients = [srv.client() for _ in range(3)]
    for _ in range(20):
        with pytest.raises(wire.Refused) as refused:
            srv.client()
        assert refused.value.number not in (-errno.EPERM, -errno.EAGAIN)
        assert errno.errorcode.get(-refused.value.number), "not a negative errno"
        srv.clients[-1].assert_cut()
    for client in clients:
        client.follow_until_knows([0, 1, 2])
    clients[1].close()
    clients[0].follow_until_knows([0, 2])
    newcomer = srv.client()
    assert newcomer.id == 3
    clients[0].follow_until_knows([0, 2, 3])
