"""What a monitoring system sees of the watch: Prometheus metrics, and whether it is well."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog, head_of
from daemon.fetching import Changed, Failed
from daemon.items import Item
from daemon.metrics import LONGEST_SILENCE_SECONDS, Metrics
from daemon.service import Watch, record_rules
from tests.support import NOW, WebServer, claim, feed, item, move_on, rss, rules, take_in, watching

Samples = dict[tuple[str, tuple[str, ...]], float]
LONGEST_TRIES = 400
DOWN = Failed("http 503", "503 Away", "Wait.")


def changed(*items: Item) -> Changed:
    return Changed(rss(*items), "x", None, None, None)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watched = rules(feed("gazette"), feed("herald"), claim("swap", "prisoner exchange"), claim("sea", "black sea"))
    with watching(tmp_path, watched) as begun:
        record_rules(begun)
        yield begun


def free_address() -> str:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def address() -> str:
    return free_address()


def asked(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scraped(metrics: Metrics, address: str) -> Samples:
    """Every sample of a scrape, by its name and the values of its labels."""
    with closing(metrics):
        metrics.listen(address)
        status, text = asked(address, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_tells_what_the_log_holds(watch: Watch, address: str) -> None:
    take_in(watch, feed("gazette"), changed(item("Prisoner exchange agreed"), item("A gallery opens")))
    take_in(watch, feed("herald"), DOWN)
    found = scraped(Metrics(lambda: watch), address)
    assert found["claimwatch_items_total", ()] == 2
    assert found["claimwatch_matches_total", ("swap",)] == 1
    assert found["claimwatch_matches_total", ("sea",)] == 0
    assert found["claimwatch_feeds", ("ok",)] == found["claimwatch_feeds", ("failing",)] == 1
    assert found["claimwatch_feed_last_read_timestamp_seconds", ("gazette",)] == NOW.timestamp()
    assert ("claimwatch_feed_last_read_timestamp_seconds", ("herald",)) not in found
    with watch.log.reading() as connection:
        assert found["claimwatch_events_total", ()] == head_of(connection).position
    assert found["process_resident_memory_bytes", ()] > 1_000_000


def test_a_trouble_of_the_watch_is_counted_by_its_kind(watch: Watch, address: str) -> None:
    take_in(watch, feed("herald"), DOWN)
    move_on(watch, timedelta(days=2))
    take_in(watch, feed("herald"), DOWN)
    found = scraped(Metrics(lambda: watch), address)
    assert found["claimwatch_troubles", ("feed failing",)] == 1
    # It would be that instead, not as well.
    assert ("claimwatch_troubles", ("feed gone",)) not in found


def test_answers_of_feeds_are_counted_also_where_they_bring_nothing(watch: Watch, address: str) -> None:
    metrics = Metrics(lambda: watch)
    for outcome in (changed(item("A gallery opens")), DOWN, DOWN):
        metrics.polled(take_in(watch, feed("gazette"), outcome))
    found = scraped(metrics, address)
    assert found["claimwatch_polls_total", ("changed",)] == 1
    assert found["claimwatch_polls_total", ("failed",)] == 2


def test_a_watch_is_well_while_its_polls_show_progress(watch: Watch, address: str) -> None:
    seconds = [0.0]
    metrics = Metrics(lambda: watch, monotonic=lambda: seconds[0])
    with closing(metrics):
        metrics.listen(address)
        seconds[0] = LONGEST_SILENCE_SECONDS
        assert asked(address, "/healthz") == (200, "ok\n")
        seconds[0] += 1
        assert asked(address, "/healthz") == (503, "the polls have shown no progress for 301 seconds\n")
        metrics.allow(timeout_seconds=600)
        assert asked(address, "/healthz") == (200, "ok\n")
        seconds[0] = 1201
        assert asked(address, "/healthz")[0] == 503
        metrics.progressed()
        assert asked(address, "/healthz") == (200, "ok\n")


def test_a_watch_that_can_not_read_its_log_is_not_well(watch: Watch, address: str, tmp_path: Path) -> None:
    lost = Watch.over(EventLog(f"sqlite:///{tmp_path}/nowhere/log.sqlite3"), watch.rules, watch.clock)
    with closing(Metrics(lambda: lost)) as metrics:
        metrics.listen(address)
        status, said = asked(address, "/healthz")
    assert status == 503
    assert said.startswith("the log can't be read: ")


def test_there_is_nothing_else(watch: Watch, address: str) -> None:
    with closing(Metrics(lambda: watch)) as metrics:
        metrics.listen(address)
        assert asked(address, "/") == (404, "There are /metrics and /healthz.\n")


def test_another_address_is_served_and_the_one_before_no_longer(watch: Watch, address: str) -> None:
    with closing(Metrics(lambda: watch)) as metrics, closing(socket.socket()) as taken:
        metrics.listen(address)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClaimwatchError, match=f"can't be served at {other}: Address already in use"):
            metrics.listen(other)
        assert asked(address, "/healthz")[0] == 200
        metrics.listen(address.replace("127.0.0.1", "0.0.0.0"))
        assert asked(address, "/healthz")[0] == 200
        metrics.listen(None)
        with pytest.raises(urllib.error.URLError):
            asked(address, "/healthz")


def test_a_scrape_is_served_by_ipv6_too(watch: Watch) -> None:
    with closing(socket.socket(socket.AF_INET6)) as free:
        try:
            free.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        address = f"[::1]:{free.getsockname()[1]}"
    with closing(Metrics(lambda: watch)) as metrics:
        metrics.listen(address)
        assert asked(address, "/healthz")[0] == 200


def test_a_running_watch_serves_where_its_feeds_yaml_says_and_moves_with_an_edit(
    tmp_path: Path, web: WebServer, address: str
) -> None:
    config, other = tmp_path / "feeds.yaml", free_address()
    text = f"feeds: {{ gazette: {web.serve('/feed.xml', rss(item('A gallery opens')))} }}\n"
    text += "claims: { prisoner-exchange: { terms: prisoner exchange } }\npolling: { allow_private: 127.0.0.1 }\n"
    config.write_text(f"{text}metrics: {address}\n", encoding="utf-8")
    command = [sys.executable, "-m", "daemon", "run", "--config", str(config), "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert answered(f"{address}/healthz") == "ok\n"
            assert 'claimwatch_polls_total{outcome="changed"} 1.0' in answered(f"{address}/metrics", "outcome=")
            config.write_text(f"{text}metrics: {other}\n", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            assert answered(f"{other}/healthz") == "ok\n"
            assert is_served_no_longer(f"{address}/healthz")
        finally:
            process.terminate()


def answered(url: str, awaited: str = "") -> str:
    """What is answered there, once something is, with what is awaited in it."""
    for _ in range(LONGEST_TRIES):
        with suppress(OSError), urllib.request.urlopen(f"http://{url}", timeout=10) as answer:
            text = str(answer.read(), "utf-8")
            if awaited in text:
                return text
        time.sleep(0.05)
    raise AssertionError(f"{url} never said {awaited!r}")


def is_served_no_longer(url: str) -> bool:
    for _ in range(LONGEST_TRIES):
        try:
            urllib.request.urlopen(f"http://{url}", timeout=10).close()
        except OSError:
            return True
        time.sleep(0.05)
    return False
