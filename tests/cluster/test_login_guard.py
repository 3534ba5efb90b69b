"""Wrong passwords on several nodes are counted together."""

from tests.cluster.cluster import Cluster
from tests.harness.service import wait_for
from tests.mail.guesses import Guess, lets_in, try_all
from tests.mail.platform import Mailbox

OF_ACCOUNT, OF_ADDRESS = 100, 20


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    """A part of the failures at each node makes an attack and a ban, which hold at every node."""
    services = [machine.service for machine in cluster.machines]
    share = OF_ACCOUNT // len(services) + 1
    for at, service in enumerate(services):
        guesses = [Guess(f"2001:db8:{at:x}:{n:x}::1", box.address) for n in range(share)]
        guesses += [Guess("198.51.100.7", "nobody@elsewhere.example")] * (OF_ADDRESS // len(services) + 1)
        assert not any(try_all(service, guesses))
    kinds = {"login_attacks": "account_id = :id", "login_bans": "network = '198.51.100.7'"}
    for table, where in kinds.items():
        sql = f"SELECT 1 FROM {table} WHERE {where}"
        values = {"id": box.id} if ":id" in where else {}
        wait_for(table, lambda sql=sql, values=values: box.platform.sql(sql, **values))  # type: ignore[misc]
    clients = ("192.0.2.9", "198.51.100.7")
    for client in clients:
        assert [lets_in(one, client, box.address, box.password) for one in services] == [False] * len(services)
    for whom in (box.address, clients[1]):
        services[0].run("bans", "lift", whom).check_returncode()
    for client in clients:
        assert all(lets_in(one, client, box.address, box.password) for one in services)
