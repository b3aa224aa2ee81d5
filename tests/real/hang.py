"""Leaves a position in a group that no marker will ever end, as KAFKA-20734 does.

    hang.py --broker HOST:PORT --id ID --offset OFFSET

Begins as the producer ID, and commits OFFSET of partition 0 of `tributary.positions` for the group ID without
telling the coordinator, which therefore never ends it: a broker that verifies that would refuse it, so this
takes `transaction.partition.verification.enable=false`.
"""

import argparse
import socket
import struct

INIT_PRODUCER_ID, TXN_OFFSET_COMMIT = 22, 28
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--offset", required=True, type=int)
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


if __name__ == "__main__":
    main()
