"""Leaves a position in a group that no marker will ever end, as KAFKA-20734 does; and a record in a topic, if one is
named.

    hang.py --broker HOST:PORT --id ID --offset OFFSET [--topic TOPIC]

Begins as the producer ID, and commits OFFSET of partition 0 of `tributary.positions` for the group ID without
telling the coordinator, which therefore never ends it; so it is with the record in partition 0 of TOPIC. A broker
that verifies that would refuse both, so this takes `transaction.partition.verification.enable=false`.
"""

import argparse
import socket
import struct
import time

PRODUCE, INIT_PRODUCER_ID, TXN_OFFSET_COMMIT = 0, 22, 28
TRANSACTIONAL, MAGIC, NONE = 0x10, 2, -1
TOPIC = "tributary.positions"


def text(value):
    data = value.encode()
    return struct.pack(">h", len(data)) + data


class Broker:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def ask(self, api, version, body):
        head = struct.pack(">hhi", api, version, 0) + text("hang")
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (length,) = struct.unpack(">i", self.read(4))
        return self.read(length)[4:]

    def read(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise SystemExit("the broker has closed the connection")
            data += piece
        return data


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch(producer, epoch):
    """A record batch (format v2) of one record without a key: all numbers in it are short, and zigzag."""
    value = b"nobody will read this"
    record = b"\0\0\0\1" + bytes([2 * len(value)]) + value + b"\0"
    now = int(time.time() * 1000)
    summed = struct.pack(">hiqqqhii", TRANSACTIONAL, 0, now, now, producer, epoch, 0, 1)
    summed += bytes([2 * len(record)]) + record
    body = struct.pack(">ibI", NONE, MAGIC, crc32c(summed)) + summed
    return struct.pack(">qi", 0, len(body)) + body


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--offset", required=True, type=int)
    parser.add_argument("--topic")
    args = parser.parse_args()
    broker = Broker(args.broker)

    answer = broker.ask(INIT_PRODUCER_ID, 0, text(args.id) + struct.pack(">i", 15_000))
    _, error, producer, epoch = struct.unpack(">ihqh", answer)
    if error:
        raise SystemExit(f"InitProducerId: error {error}")
    partitions = struct.pack(">iiqi", 1, 0, args.offset, -1) + text("")
    body = text(args.id) + text(args.id) + struct.pack(">qh", producer, epoch)
    answer = broker.ask(TXN_OFFSET_COMMIT, 2, body + struct.pack(">i", 1) + text(TOPIC) + partitions)
    (error,) = struct.unpack(">h", answer[-2:])
    if error:
        raise SystemExit(f"TxnOffsetCommit: error {error}")
    if args.topic is None:
        return
    records = batch(producer, epoch)
    body = text(args.id) + struct.pack(">hii", NONE, 30_000, 1) + text(args.topic)
    answer = broker.ask(PRODUCE, 3, body + struct.pack(">iii", 1, 0, len(records)) + records)
    (error,) = struct.unpack_from(">h", answer, 4 + len(text(args.topic)) + 8)
    if error:
        raise SystemExit(f"Produce: error {error}")


if __name__ == "__main__":
    main()
