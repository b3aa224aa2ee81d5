"""Commands for a gateway, by librdkafka: transactions that are committed and such that are aborted, with every codec.

The committed values are "0", "1", ...; each key gets its own in rising order. Aborted records are "aborted".
"""

import argparse
import time

from confluent_kafka import Producer

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KEYS = 3
MAX_S = 60


def producer(brokers, codec):
    made = Producer(
        {
            "bootstrap.servers": brokers,
            "transactional.id": f"centre-{codec}",
            "compression.type": codec,
            "linger.ms": 0,
            # A broker is killed meanwhile.
            "log_level": 0,
        }
    )
    made.init_transactions(MAX_S)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--commands", type=int, required=True)
    parser.add_argument("--pause-ms", type=int, default=20)
    args = parser.parse_args()
    producers = [producer(args.brokers, codec) for codec in CODECS]
    headers = [("tributary.gateway", args.gateway)]

    def send(to, number, value):
        to.produce(args.topic, key=f"pump-{number % KEYS}", value=value, headers=headers)

    number = 0
    turn = 0
    while number < args.commands:
        to = producers[turn % len(producers)]
        to.begin_transaction()
        for _ in range(1 + turn % 4):
            if turn % 3 == 2:
                send(to, number, "aborted " * 20)
            elif number < args.commands:
                send(to, number, str(number))
                number += 1
        to.flush(MAX_S)
        if turn % 3 == 2:
            to.abort_transaction(MAX_S)
        else:
            to.commit_transaction(MAX_S)
        turn += 1
        time.sleep(args.pause_ms / 1000)


main()
