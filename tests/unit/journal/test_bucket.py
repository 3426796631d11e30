"""A journal and shards on an object store. ``RSTAR_TEST_S3=s3://bucket/prefix`` takes a real one (AWS_ENDPOINT_URL)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from rstar_core.errors import UserError
from rstar_core.io import TREES, row_from_tree
from rstar_core.journal import bucket
from rstar_core.journal.bucket import BucketJournal
from rstar_core.shards import manifest, read_trees, write_shards, write_trees
from rstar_core.store.objects import create_object, exclusive_store
from rstar_core.types import Node, SearchTree
from tests.unit.journals import KEY

TREE = SearchTree("p0", "r1", 0, (Node(-1, None, 0.0, 1, 1.0),), 1, 3)


@pytest.fixture
def place() -> Iterator[str]:
    yield f"{os.environ.get('RSTAR_TEST_S3') or 'memory://bucket'}/{uuid4().hex}"


def test_records_are_there_for_the_next_worker_and_the_first_counts(place: str) -> None:
    one = BucketJournal(place, KEY)
    assert one.claim("a") and "a" not in one
    one.append("a", {"of": "a"})
    one.append("a", "another")
    one.close()
    two = BucketJournal(place, KEY)
    assert "a" in two and not two.claim("a") and len(two) == 1
    assert list(two.read(["a"])) == [{"of": "a"}]
    two.discard()
    assert len(BucketJournal(place, KEY)) == 0


def test_a_claim_holds_while_its_worker_lives(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = BucketJournal(place, KEY), BucketJournal(place, KEY)
    assert one.claim("a") and not two.claim("a") and one.claim("a")
    monkeypatch.setattr(bucket, "DEAD_AFTER_SECONDS", -60)
    assert two.claim("a")


def test_what_another_has_made_since_the_last_look_is_not_claimed(place: str) -> None:
    one, two = BucketJournal(place, KEY), BucketJournal(place, KEY)
    one.append("a", 1)
    assert not two.claim("a") and "a" in two and two.claim("b")
    assert BucketJournal(place, KEY).claim("b") is False, "a look that finds nothing gives its claim up to nobody"


def test_a_slow_listing_is_seldom_repeated(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bucket, "time", SimpleNamespace(monotonic=lambda: now[0]))
    journal = BucketJournal(place, KEY)
    num_listings, find = 0, journal._files.find

    def slow_find(path: str) -> Any:
        nonlocal num_listings
        num_listings += 1
        now[0] += 60
        return find(path)

    monkeypatch.setattr(journal._files, "find", slow_find)
    for _ in range(60):
        now[0] += 60
        journal.refresh()
    assert 0 < 60 * num_listings <= 0.1 * now[0] + 60


def test_a_journal_that_another_worker_needs_stays(place: str) -> None:
    one, two = BucketJournal(place, KEY), BucketJournal(place, KEY)
    one.append("a", 1)
    one.discard()
    two.refresh()
    assert list(two.read(["a"])) == [1]


@pytest.mark.skipif(not os.environ.get("RSTAR_TEST_S3"), reason="a store in memory has no races to win")
def test_one_of_eight_racers_creates_the_object(place: str) -> None:
    files, path = exclusive_store(place)
    won: list[int] = []

    def race(number: int) -> None:
        try:
            create_object(files, f"{path}/prize", str(number).encode())
            won.append(number)
        except FileExistsError:
            pass

    racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1 and files.cat_file(f"{path}/prize") == str(won[0]).encode()


def test_shards_are_sealed_there_too(place: str) -> None:
    assert write_trees(place, [TREE]) == 1
    assert read_trees(place) == [TREE]
    with pytest.raises(FileExistsError):
        write_shards(place, [row_from_tree(TREE)], TREES)
    (shard,) = manifest(place)
    files, path = fsspec.core.url_to_fs(place)
    files.pipe_file(f"{path}/{shard.name}", b"other")
    with pytest.raises(UserError, match="not what was sealed"):
        read_trees(place)


def test_a_store_that_lets_everybody_win_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(files: Any, path: str, data: bytes) -> None:
        files.pipe_file(path, data)

    monkeypatch.setattr("rstar_core.store.objects.create_object", put)
    with pytest.raises(UserError, match="this store ignores If-None-Match: two workers could undo each other"):
        exclusive_store(place)
