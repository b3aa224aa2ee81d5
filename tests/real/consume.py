"""Reads everything committed in a topic with librdkafka, a JSON line per record.

    consume.py --brokers HOST:PORT --topic TOPIC --end MARK --out FILE

Reads the topic's partition from its beginning to its last stable offset with `read_committed`. Then it
writes a record MARK behind all others, for the console consumer, which cannot tell an end by itself.
"""

import argparse
import json

import confluent_kafka as kafka

LIMIT_S = 60.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--end", required=True)
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
    if list(metadata.partitions) != [0]:
        raise SystemExit(f"{args.topic}: partitions {list(metadata.partitions)}, but one mark ends one partition")
    consumer.assign([kafka.TopicPartition(args.topic, 0, kafka.OFFSET_BEGINNING)])
    with open(args.out, "w", encoding="utf-8") as out:
        for message in committed(consumer, args.topic):
            print(json.dumps(record(message)), file=out)
    consumer.close()
    write(args.brokers, args.topic, args.end)


def committed(consumer, topic):
    """The messages up to the partition's end."""
    while True:
        message = consumer.poll(LIMIT_S)
        if message is None:
            raise SystemExit(f"{topic}: neither a record nor the end in {LIMIT_S} s")
        if message.error() is None:
            yield message
        elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
            return
        else:
            raise SystemExit(f"{topic}: {message.error()}")


def write(brokers, topic, mark):
    """Writes a record that is only a mark, with a key for topics that ask for one."""
    failures = []

    def note(error, _):
        failures.append(error)

    producer = kafka.Producer({"bootstrap.servers": brokers, "acks": "all"})
    producer.produce(topic, mark, key=mark, partition=0, on_delivery=note)
    producer.flush(LIMIT_S)
    if failures != [None]:
        raise SystemExit(f"{topic}: the mark was not written: {failures[:1]!s}")


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
