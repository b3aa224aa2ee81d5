"""Reads everything committed in a topic with librdkafka, a JSON line per record.

    consume.py --brokers HOST:PORT --topic TOPIC --out FILE

Reads every partition from its beginning to its last stable offset with `read_committed`, then ends.
"""

import argparse
import json

import confluent_kafka as kafka

LIMIT_S = 60.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    consumer = kafka.Consumer({
        "bootstrap.servers": args.brokers,
        "group.id": "checker",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    })
    metadata = consumer.list_topics(args.topic, timeout=LIMIT_S).topics[args.topic]
    if metadata.error:
        raise SystemExit(f"{args.topic}: {metadata.error}")
    open_partitions = set(metadata.partitions)
    consumer.assign([
        kafka.TopicPartition(args.topic, number, kafka.OFFSET_BEGINNING) for number in open_partitions
    ])
    with open(args.out, "w", encoding="utf-8") as out:
        while open_partitions:
            message = consumer.poll(LIMIT_S)
            if message is None:
                raise SystemExit(f"{args.topic}: partitions {open_partitions} did not end in {LIMIT_S} s")
            if message.error() is None:
                print(json.dumps(record(message)), file=out)
            elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
                open_partitions.discard(message.partition())
            else:
                raise SystemExit(f"{args.topic}: {message.error()}")
    consumer.close()


def record(message):
    """The parts of a record that the console consumer prints too."""
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "headers": [[key, text(value)] for key, value in message.headers() or []],
        "key": text(message.key()),
        "value": text(message.value()),
    }


def text(data):
    """As the console consumer decodes: what is not UTF-8 becomes U+FFFD."""
    return None if data is None else data.decode("utf-8", errors="replace")


if __name__ == "__main__":
    main()
