"""One running Postroom for the mail tests, with real Dovecot and Postfix, and a new domain for each
test.

Tests that share a service run on SQLite and on PostgreSQL. The tests in BOTH always do: they ask
the daemons each question that the views answer (login, recipient, alias, sender, refusal, session,
signing key, delivery by id). The other tests are about protocols, processes and files, which depend
little on the engine; they run on PostgreSQL only with `--faults`. test_outage.py needs PostgreSQL.

`--daemons`, for a second Debian, runs the tests of BOTH on PostgreSQL alone; `--beside-daemons`,
for the first Debian, runs them on SQLite alone. Tests that are also in EACH_DEBIAN run on both
engines either way. Tests outside of BOTH run on SQLite on both Debians.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.harness.postgres import PostgresServer
from tests.harness.service import Service
from tests.mail.platform import Mailbox, Platform
from tests.webhooks.endpoint import Endpoint

NewDatabase = Callable[[], dict[str, str]]

BOTH = {
    "test_aliases",
    "test_app_passwords",
    "test_owner_page",
    "test_passing_messages::test_it_works",
    "test_passing_messages::test_unknown_addresses",
    "test_passing_messages::test_who_gets_what",
    "test_passing_messages::test_another_mode",
    "test_passing_messages::test_the_hidden_account_ends",
    "test_switches",
    "test_message_sends::test_it_works",
    "test_message_sends::test_the_send_limits",
    "test_message_sends::test_senders",
    "test_message_sends::test_unknown_recipients_stop_the_message",
    "test_message_sends::test_only_what_is_announced_passes",
    "test_messages::test_it_works",
    "test_messages::test_an_event_tells_once_an_hour",
    "test_messages::test_a_deleted_account_has_no_messages",
    "test_renames::test_it_works",
    "test_renames::test_a_hundred_renames_under_load",
    "test_imported_hashes::test_a_reset",
    "test_freshness",
    "test_delivery",
    "test_submission",
    "test_senders",
    "test_send_limits",
    "test_ways_out",
    "test_forwards",
    "test_sent_mail",
    "test_delivery_rules",
    "test_identity",
    "test_spelled_logins",
    "test_sieve::test_the_envelope_has_the_address_that_was_written_to",
    "test_sieve::test_several_spellings_of_an_address_get_one_copy",
    "test_as_sent::test_it_works",
    "test_as_sent::test_a_recipient_is_served_or_refused_for_good",
    "test_as_sent::test_a_sender_is_taken_or_refused_for_good",
    "test_as_sent::test_what_is_submitted_is_signed_or_refused_for_good",
    "test_as_sent::test_a_sender_from_outside_is_served_or_refused_for_good",
    "test_port25::test_it_works",
    "test_port25::test_hosted_means_what_the_database_says_now",
    "test_port25::test_what_we_signed_comes_back",
    "test_port25::test_nothing_is_taken_while_nobody_can_judge",
    "test_port25::test_each_message_of_a_session_is_asked_about",
    "test_last_login::test_it_works",
    "test_login_guard",
    "test_scripts::test_forwarding_ends_with_a_reset_that_stops_scripts",
    "test_quotas::test_it_works",
    "test_quotas::test_a_number_of_messages",
    "test_quotas::test_imap",
    "test_dkim::test_it_works",
    "test_dkim::test_a_rotation_under_real_mail",
    "test_dkim::test_a_domain_that_is_no_longer_signed_for",
}
# Look-ups that each version of the daemons asks of each engine in its own way.
EACH_DEBIAN = {
    "test_app_passwords",
    "test_owner_page",
    "test_switches",
    "test_freshness",
    "test_delivery",
    "test_submission",
    "test_delivery_rules",
    "test_quotas",
    "test_login_guard",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        always = {module, f"{module}::{metafunc.function.__name__}"} & BOTH
        engines = ["sqlite", pytest.param("postgresql", marks=[] if always else [pytest.mark.long])]
        if always and module not in EACH_DEBIAN:
            if metafunc.config.getoption("--daemons"):
                engines = ["postgresql"]
            elif metafunc.config.getoption("--beside-daemons"):
                engines = ["sqlite"]
        metafunc.parametrize("database", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> NewDatabase:
    """Returns a function that gives the settings for a new database; for SQLite, none."""
    if request.param == "sqlite":
        return dict
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda: {"database_url": server.new_database()}


@pytest.fixture(scope="session")
def service(database: NewDatabase) -> Iterator[Service]:
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(**database()) as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture(scope="module")
def private_service(database: NewDatabase) -> Iterator[Service]:
    """A service whose webhooks may lead to the loopback."""
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(**database(), webhook_allow="private") as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint.start() as found:
        yield found


@pytest.fixture
def platform(service: Service) -> Platform:
    """Returns an organization with its own active platform domain."""
    return Platform.new(service)


@pytest.fixture
def anna(platform: Platform) -> Mailbox:
    return platform.create("anna", user_id="a")


@pytest.fixture
def alice(platform: Platform) -> Mailbox:
    return platform.create("alice", user_id="a")


@pytest.fixture
def bob(platform: Platform) -> Mailbox:
    return platform.create("bob", user_id="b")


@pytest.fixture
def target(platform: Platform) -> Mailbox:
    """Returns the mailbox that receives mail which gets out."""
    return platform.create("target", user_id="t")
