"""Compares what stands in Kafka with what the devices sent. Knows nothing of Tributary's code.

    check.py EXPECTATION.json

The expectation names the files of one run:

    {"gateway": "gw",                          the gateway's name
     "sent": ["rumqttc.tsv", ...],             device, round, seq, times sent, 1 if acknowledged
     "topics": {"hot": {"librdkafka": "hot.jsonl", "console": "hot.console", "end": MARK}},
     "routes": [{"name": "hot", "topic": "hot",
                 "spans": [{"first": 1, "last": 3, "where": "temp > 70"}]}]}

A route selects a reading if the span that holds its round says so; without `where` all; no span, none.
Instead of spans a route may have {"switch": {"witness": "all", "before": WHERE, "after": WHERE}}: its
condition was changed while devices were publishing, and there must be one offset of the gateway's log from
which on, and not before, the new one decides. The witness is a route that delivers everything.

Each rule of `Verdict` is counted for each route; the exit code is 0 only if every count is 0.
"""

import collections
import json
import sys

import readings

FIELD, END = "\x1f", "\x1e\n"


class Record:
    """One record of a topic, whichever client read it."""

    def __init__(self, partition, offset, headers, key, value):
        self.partition, self.offset, self.key, self.value = partition, offset, key, value
        self.headers = headers
        self.named = dict(headers)

    def same(self, other):
        return vars(self) == vars(other)


def from_librdkafka(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            headers = [tuple(pair) for pair in item["headers"]]
            yield Record(item["partition"], item["offset"], headers, item["key"], item["value"])


def from_console(path):
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        *lines, rest = file.read().split(END)
    if rest.strip():
        raise SystemExit(f"{path}: ends inside a record: {rest!r}")
    for line in lines:
        partition, offset, headers, key, value = line.split(FIELD, 4)
        pairs = [] if headers == "NO_HEADERS" else [tuple(h.split(":", 1)) for h in headers.split("\x1d")]
        yield Record(number(partition), number(offset), pairs, key, value)


def number(text):
    """The console consumer writes `Partition:3`."""
    return int(text.split(":")[1])


def topic_records(files):
    """The records of a topic in Kafka's order, and how many the two readers see differently."""
    first = sorted(from_librdkafka(files["librdkafka"]), key=lambda r: (r.partition, r.offset))
    second = list(from_console(files["console"]))
    if not second or second.pop().value != files["end"]:
        raise SystemExit(f"{files['console']}: the record that marks the end is not the last")
    differ = abs(len(first) - len(second)) + sum(not a.same(b) for a, b in zip(first, second))
    return first, differ


class Sent:
    """What the devices say: times sent and acknowledged, by (device, round, seq)."""

    def __init__(self, paths):
        self.times = collections.Counter()
        self.acked = set()
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    device, round_number, seq, times, acked = line.split("\t")
                    reading = (device, int(round_number), int(seq))
                    self.times[reading] += int(times)
                    if int(acked):
                        self.acked.add(reading)


class Input:
    """The public data: what each reading says and the bytes that carry it."""

    def __init__(self):
        self.facts = {
            (device, seq): (date, temp)
            for device, own in readings.devices().items()
            for seq, date, temp in own
        }

    def payload(self, reading):
        device, round_number, seq = reading
        return readings.payload(device, round_number, seq, *self.facts[device, seq]).decode()

    def selects(self, where, reading):
        """`temp > 70`, `temp < 40`; nothing selects all."""
        if not where:
            return True
        field, operator, bound = where.split()
        if field != "temp":
            raise SystemExit(f"unknown field in {where!r}")
        temp = float(self.facts[reading[0], reading[2]][1])
        return {">": temp > float(bound), "<": temp < float(bound)}[operator]


class Verdict:
    """The rules, counted for one route."""

    RULES = {
        "missing": "acknowledged and selected, but not in Kafka",
        "beyond sent": "more copies than the device sent",
        "doubled": "the same (gateway, offset, route) twice",
        "log order": "a log offset below an earlier one in the partition",
        "device order": "a device's first copies not in the order it sent them",
        "altered": "value, key or topic not as sent",
        "unexpected": "not selected, never sent, or not a reading",
    }

    def __init__(self, name):
        self.name = name
        self.counts = collections.Counter()
        self.examples = {}

    def add(self, rule, example):
        self.counts[rule] += 1
        self.examples.setdefault(rule, example)

    def lines(self):
        for rule, meaning in self.RULES.items():
            if self.counts[rule]:
                yield f"  FAIL {rule}: {self.counts[rule]} ({meaning}); first: {self.examples[rule]}"


def identify(record):
    """The (device, round, seq) that a value claims to be, or None."""
    try:
        item = json.loads(record.value)
        return item["device"], int(item["round"]), int(item["seq"])
    except (ValueError, KeyError, TypeError):
        return None


class Route:
    """One route's records against the input."""

    def __init__(self, expectation, gateway, data, sent):
        self.expectation = expectation
        self.gateway = gateway
        self.data = data
        self.sent = sent
        self.verdict = Verdict(expectation["name"])
        self.copies = collections.Counter()
        self.by_offset = {}
        self.triples = set()
        self.last_offset = {}
        self.last_first = {}

    def selects(self, reading):
        for span in self.expectation.get("spans", []):
            if span["first"] <= reading[1] <= span["last"]:
                return self.data.selects(span.get("where"), reading)
        return False

    def take(self, record):
        """The next record of this route, in Kafka's order."""
        reading = identify(record)
        if reading not in self.sent.times:
            return self.verdict.add("unexpected", record.value)
        if "spans" in self.expectation and not self.selects(reading):
            self.verdict.add("unexpected", record.value)
        self.check_content(record, reading)
        self.check_place(record, reading)
        self.copies[reading] += 1
        if self.copies[reading] == self.sent.times[reading] + 1:
            self.verdict.add("beyond sent", reading)

    def check_content(self, record, reading):
        topic = readings.topic(reading[0])
        as_sent = (self.data.payload(reading), topic, topic, self.gateway)
        found = (record.value, record.key, record.named.get("mqtt.topic"), record.named.get("tributary.gateway"))
        if found != as_sent:
            self.verdict.add("altered", f"{found} instead of {as_sent}")

    def check_place(self, record, reading):
        offset = int(record.named.get("tributary.offset", "-1"))
        self.by_offset[offset] = reading
        if offset in self.triples:
            self.verdict.add("doubled", f"offset {offset} of {self.gateway}")
        self.triples.add(offset)
        if offset < self.last_offset.get(record.partition, -1):
            self.verdict.add("log order", f"{offset} in partition {record.partition}")
        self.last_offset[record.partition] = offset
        if not self.copies[reading]:
            if reading[1:] < self.last_first.get(reading[0], (0, -1)):
                self.verdict.add("device order", reading)
            self.last_first[reading[0]] = reading[1:]

    def finish(self, routes):
        if "switch" in self.expectation:
            return self.finish_switch(routes)
        selected = [reading for reading in self.sent.acked if self.selects(reading)]
        for reading in selected:
            if not self.copies[reading]:
                self.verdict.add("missing", reading)
        copies, distinct = sum(self.copies.values()), len(self.copies)
        return f"{len(selected)} acknowledged and selected; in Kafka {distinct}, and {copies - distinct} sent again"

    def finish_switch(self, routes):
        """Finds the offset at which the new condition begins, with the fewest contradictions."""
        switch = self.expectation["switch"]
        witness = routes[switch["witness"]].by_offset
        offsets = sorted(witness)
        wrong = {}
        for which in ("before", "after"):
            wrong[which] = [
                self.data.selects(switch[which], witness[o]) != (o in self.by_offset) for o in offsets
            ]
        errors = best = sum(wrong["after"])
        at = 0
        for i in range(len(offsets)):
            errors += wrong["before"][i] - wrong["after"][i]
            if errors < best:
                best, at = errors, i + 1
        for _ in range(best):
            self.verdict.add("missing", f"no offset divides the two conditions; best is index {at}")
        for half, name in ((wrong["before"][at:], "before"), (wrong["after"][:at], "after")):
            if not any(half):
                self.verdict.add("unexpected", f"the change is not visible: {name!r} explains everything")
        return f"{len(self.by_offset)} in Kafka; the condition changes at event {at} of {len(offsets)}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        expectation = json.load(file)
    data, sent = Input(), Sent(expectation["sent"])
    routes = {
        item["name"]: Route(item, expectation["gateway"], data, sent) for item in expectation["routes"]
    }
    failures = []
    print(f"sent: {len(sent.times)} readings, {sum(sent.times.values())} times; {len(sent.acked)} acknowledged")
    for topic, files in expectation["topics"].items():
        records, differ = topic_records(files)
        print(f"topic {topic}: {len(records)} records; librdkafka and the console consumer differ on {differ}")
        if differ:
            failures.append(f"  FAIL readers of {topic} disagree")
        for record in records:
            route = routes.get(record.named.get("tributary.route"))
            if route is None or route.expectation["topic"] != topic:
                failures.append(f"  FAIL {topic}@{record.offset} has the route {record.named.get('tributary.route')}")
            else:
                route.take(record)
    for route in routes.values():
        print(f"route {route.verdict.name}: {route.finish(routes)}")
        failures.extend(route.verdict.lines())
    print(*failures, sep="\n", end="\n" if failures else "")
    print("FAIL" if failures else "PASS")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
