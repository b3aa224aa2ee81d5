"""Sends records with librdkafka, as a peer to be measured against.

    produce.py transactions --brokers HOST:PORT --topic TOPIC --records N --per-transaction N --codec CODEC
    produce.py version
    produce.py again --brokers HOST:PORT --topic TOPIC --from HOST:PORT --source TOPIC --per-flush N --codec CODEC

`transactions` sends records of 128 bytes through the library's own interface in C, by `rd_kafka_produce_batch`, from
buffers that were made before: no Python in the way. `again` sends what stands in another topic, with the same
keys, headers and times, by a plain producer. Prints what was used, as JSON.
"""

import argparse
import ctypes
import glob
import json
import os
import resource
import sys
import time

import confluent_kafka as kafka

LIMIT_MS = 60_000
VALUE_BYTES = 128
DEVICES = 50
# The library copies the payload.
MSG_F_COPY = 0x2
BATCH_BYTES = 900_000


class Message(ctypes.Structure):
    """`rd_kafka_message_t`."""

    _fields_ = [
        ("err", ctypes.c_int),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", ctypes.c_void_p),
    ]


def library():
    """The library that the Python package brings with it."""
    folder = os.path.dirname(os.path.dirname(kafka.__file__))
    found = glob.glob(os.path.join(folder, "confluent_kafka.libs", "librdkafka-*.so*"))
    lib = ctypes.CDLL(found[0])
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_topic_new", "rd_kafka_init_transactions",
                 "rd_kafka_begin_transaction", "rd_kafka_commit_transaction"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.rd_kafka_error_string.restype = ctypes.c_char_p
    return lib


def made(settings):
    """A producer."""
    lib = library()
    conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
    text = ctypes.create_string_buffer(512)
    for key, value in settings.items():
        if lib.rd_kafka_conf_set(conf, key.encode(), str(value).encode(), text, 512) != 0:
            raise SystemExit(text.value.decode())
    producer = lib.rd_kafka_new(0, conf, text, ctypes.c_size_t(512))
    if not producer:
        raise SystemExit(text.value.decode())
    return lib, ctypes.c_void_p(producer)


def prepared(count):
    """Messages of `count` events, with the buffers that they point to."""
    keys = [ctypes.create_string_buffer(f"bench/{device}/telemetry".encode()) for device in range(DEVICES)]
    value = ctypes.create_string_buffer(b'{"temperature":20.5,"x":"' + b"x" * (VALUE_BYTES - 27) + b'"}')
    messages = (Message * count)()
    for place, message in enumerate(messages):
        key = keys[place % DEVICES]
        message.payload, message.len = ctypes.addressof(value), VALUE_BYTES
        message.key, message.key_len = ctypes.addressof(key), len(key) - 1
    return messages, (keys, value)


def transactions(args):
    """So many records in transactions."""
    lib, producer = made({
        "bootstrap.servers": args.brokers,
        "transactional.id": f"peer-{args.topic}",
        "compression.type": args.codec,
        "batch.size": BATCH_BYTES,
        "batch.num.messages": 1_000_000,
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": 1_000_000,
    })

    def good(error):
        if error:
            raise SystemExit(lib.rd_kafka_error_string(ctypes.c_void_p(error)).decode())

    topic = ctypes.c_void_p(lib.rd_kafka_topic_new(producer, args.topic.encode(), None))
    messages, buffers = prepared(args.per_transaction)
    good(lib.rd_kafka_init_transactions(producer, LIMIT_MS))
    before, begun, left = used(), time.monotonic(), args.records
    while left > 0:
        count = min(left, args.per_transaction)
        good(lib.rd_kafka_begin_transaction(producer))
        if lib.rd_kafka_produce_batch(topic, 0, MSG_F_COPY, messages, count) != count:
            raise SystemExit("the queue is full")
        good(lib.rd_kafka_commit_transaction(producer, LIMIT_MS))
        left -= count
    tell(before, begun)
    del buffers


def again(args):
    """What stands in another topic."""
    records = read(args.source_brokers, args.source)
    producer = kafka.Producer({
        "bootstrap.servers": args.brokers,
        "compression.type": args.codec,
        "batch.size": BATCH_BYTES,
        # So that a request goes with each flush, and no sooner.
        "batch.num.messages": args.per_flush,
        "linger.ms": 10_000,
    })
    failures = []

    def note(error, _):
        if error:
            failures.append(error)

    before, begun = used(), time.monotonic()
    for place, record in enumerate(records, 1):
        _, stamp = record.timestamp()
        producer.produce(args.topic, record.value(), record.key(), partition=0, timestamp=stamp,
                         headers=record.headers() or [], on_delivery=note)
        if place % args.per_flush == 0:
            producer.flush()
    producer.flush()
    if failures:
        raise SystemExit(str(failures[0]))
    tell(before, begun, records=len(records))


def read(brokers, topic):
    """All that is committed in a topic."""
    consumer = kafka.Consumer({
        "bootstrap.servers": brokers,
        "group.id": "peer",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    })
    consumer.assign([kafka.TopicPartition(topic, 0, kafka.OFFSET_BEGINNING)])
    records = []
    while True:
        message = consumer.poll(LIMIT_MS / 1000)
        if message is None:
            raise SystemExit(f"{topic}: no end")
        if message.error() is None:
            records.append(message)
        elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
            consumer.close()
            return records
        else:
            raise SystemExit(f"{topic}: {message.error()}")


def used():
    """CPU time so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tell(before, begun, **more):
    """What was used since."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"cpu_s": used() - before, "seconds": time.monotonic() - begun, "rss_bytes": rss, **more}
    json.dump(told, sys.stdout)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    sends = commands.add_parser("transactions")
    sends.add_argument("--records", type=int, required=True)
    sends.add_argument("--per-transaction", type=int, required=True)
    sends.set_defaults(run=transactions)
    repeats = commands.add_parser("again")
    repeats.add_argument("--from", dest="source_brokers", required=True)
    repeats.add_argument("--source", required=True)
    repeats.add_argument("--per-flush", type=int, required=True)
    repeats.set_defaults(run=again)
    commands.add_parser("version").set_defaults(run=lambda _: print(kafka.libversion()[0]))
    for command in (sends, repeats):
        command.add_argument("--brokers", required=True)
        command.add_argument("--topic", required=True)
        command.add_argument("--codec", required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
