"""Units by AWS's rules. What is quoted is the DynamoDB Developer Guide, or the price pages of SQS and API Gateway."""

from __future__ import annotations

from typing import Any

import pytest

from bench.units import gateway_messages, item_size, queue_requests, read_units, total_size, write_units

KB = 1024


@pytest.mark.parametrize(
    ("size", "eventually", "consistent", "transactional"),
    [
        (3_500, 0.5, 1, 2),  # «reading a 3,500-byte item consumes the same throughput as reading a 4 KB item»
        (3.5 * KB, 0.5, 1, 2),  # «if you read an item that is 3.5 KB, DynamoDB rounds the item size to 4 KB»
        (4 * KB, 0.5, 1, 2),
        (4 * KB + 1, 1, 2, 4),
        (8 * KB, 1, 2, 4),  # «if your item size is 8 KB … 2 … 1 … eventually consistent … or 4 … transactional»
        (10 * KB, 1.5, 3, 6),  # «If you read an item of 10 KB, DynamoDB rounds the item size to 12 KB»
        (80 * KB, 10, 20, 40),  # «if the total item size is 80 KB, the operation consumes only 10 capacity units»
        (0, 0.5, 1, 2),  # «an item that does not exist … one read capacity unit … eventually consistent … 0.5»
    ],
)
def test_a_read_costs_by_4_kib(size: float, eventually: float, consistent: float, transactional: float) -> None:
    assert read_units(int(size)) == eventually
    assert read_units(int(size), consistent=True) == consistent
    assert read_units(int(size), transactional=True) == transactional


def test_a_query_is_one_read_of_all_that_it_looked_at() -> None:
    # «your query returns 10 items whose combined size is 40.8 KB. DynamoDB rounds … to 44 KB»
    assert read_units(int(40.8 * KB), consistent=True) == 44 / 4
    # «1500 items of 64 bytes each, the cumulative size is 96 KB»: 93.75 KB, rounded
    assert read_units(1500 * 64, consistent=True) == 96 / 4


@pytest.mark.parametrize(
    ("size", "standard", "transactional"),
    [
        (500, 1, 2),  # «writing a 500-byte item consumes the same throughput as writing a 1 KB item»
        (512, 1, 2),
        (KB, 1, 2),  # «a standard write request of a 1 KB item would require one WCU,
        (1.6 * KB, 2, 4),  # «if you put or delete an item of 1.6 KB, DynamoDB rounds the item size up to 2 KB»
        (3 * KB, 3, 6),  # … of a 3 KB item three, and a transactional write request of a 3 KB item six WCUs»
        (3.5 * KB, 4, 8),
        (310 * KB, 310, 620),
    ],
)
def test_a_write_costs_by_1_kib(size: float, standard: int, transactional: int) -> None:
    assert write_units(0, int(size)) == standard
    assert write_units(0, int(size), transactional=True) == transactional


def test_a_write_costs_what_the_item_was_or_is_whichever_is_larger() -> None:
    # «the larger of the "before" and "after" item sizes»; «based on the size of the deleted item»
    assert write_units(3 * KB, 100) == write_units(100, 3 * KB) == write_units(3 * KB, 0) == 3
    assert write_units(0, 0) == 1  # to delete what is not there


def test_a_transaction_costs_each_of_its_items_twice() -> None:
    # «each transaction writes three 500-byte items … six WCUs»; «reads three 500-byte items … six»
    assert sum(write_units(0, 500, transactional=True) for _ in range(3)) == 6
    assert sum(read_units(500, transactional=True) for _ in range(3)) == 6


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "abc"}, 3),
        ({"S": "héé"}, 5),  # «number of UTF-8-encoded bytes»
        ({"S": ""}, 0),
        ({"N": "0"}, 1),  # «1 byte per two significant digits) + (1 byte)»
        ({"N": "7"}, 2),
        ({"N": "27"}, 2),
        ({"N": "461"}, 3),
        ({"N": "1795253400123"}, 8),
        ({"N": "100"}, 2),  # «Leading and trailing zeroes are trimmed»
        ({"N": "0.0050"}, 2),
        ({"N": "-27"}, 3),
        ({"N": "1E+20"}, 2),
        ({"B": b"\x00\x01\x02"}, 3),  # «the value's raw byte length»
        ({"BOOL": False}, 1),  # «null attribute or a Boolean … (1 byte)»
        ({"NULL": True}, 1),
        ({"SS": ["g:a", "g:bc"]}, 7),
        ({"NS": ["1", "200"]}, 4),
        ({"BS": [b"ab", b"c"]}, 3),
        ({"L": []}, 3),  # «requires 3 bytes of overhead, regardless of its contents»
        ({"M": {}}, 3),
        ({"L": [{"N": "1"}, {"S": "ab"}]}, 3 + (1 + 2) + (1 + 2)),  # «Each List or Map element also requires 1 byte»
        ({"M": {"kind": {"S": "text"}}}, 3 + 1 + 4 + 4),
        ({"L": [{"L": [{"N": "1"}, {"N": "0"}]}]}, 3 + 1 + 3 + (1 + 2) + (1 + 1)),
    ],
)
def test_a_value_has_the_size_that_aws_says(value: dict[str, Any], size: int) -> None:
    assert item_size({"": value}) == size


def test_an_item_is_its_names_and_its_values() -> None:
    item = {"pk": {"S": "alice"}, "größe": {"N": "12"}}

    assert item_size(item) == (2 + 5) + (7 + 2)
    assert total_size([item, item]) == 2 * item_size(item)


def test_a_type_that_dynamodb_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        item_size({"name": {"X": "y"}})


@pytest.mark.parametrize(("payload", "requests"), [(0, 1), (1, 1), (64 * KB, 1), (64 * KB + 1, 2), (256 * KB, 4)])
def test_a_queue_counts_a_request_for_each_64_kib(payload: int, requests: int) -> None:
    # «Each 64 KB chunk of a payload is billed as 1 request (for example, … a 256 KB payload … 4 requests)»
    assert queue_requests(payload) == requests


@pytest.mark.parametrize(("payload", "messages"), [(1, 1), (32 * KB, 1), (33 * KB, 2), (128 * KB, 4)])
def test_the_gateway_counts_a_message_for_each_32_kib(payload: int, messages: int) -> None:
    # «metered in 32 KB increments … a 33 KB message is metered as two messages»
    assert gateway_messages(payload) == messages
