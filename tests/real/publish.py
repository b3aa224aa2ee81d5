"""Plays the readings with paho, one client per device, and writes what was acknowledged.

    publish.py --port PORT --rounds N [--first-round R] [--take READINGS] [--rate PER_SECOND] --out FILE

Each client keeps at most WINDOW messages unacknowledged. When its connection breaks, a new client with
the same id sends the unacknowledged ones again, in order, before it goes on: what a device with QoS 1 does.
FILE gets a line per reading: device, round, seq, times sent, 1 if acknowledged. Ends when all are.
"""

import argparse
import collections
import threading
import time

import paho.mqtt.client as mqtt

import readings

WINDOW = 20
LIMIT_S = 300
LOST = "lost"


class Device:
    """One device: its messages in order, and what became of each."""

    def __init__(self, name, messages, port, interval):
        self.name = name
        self.port = port
        self.interval = interval
        self.waiting = collections.deque(messages)
        self.unacked = collections.deque()
        self.sent = collections.Counter()
        self.acked = set()

    def run(self):
        """Sends everything, over as many connections as it takes."""
        end = time.monotonic() + LIMIT_S
        while self.waiting or self.unacked:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: {len(self.unacked)} unacknowledged")
            try:
                self.one_connection(end)
            except OSError:
                time.sleep(0.05)  # nothing tells when a port opens: ask again

    def one_connection(self, end):
        """Sends until everything is acknowledged or the connection breaks."""
        news = collections.deque()
        ready = threading.Condition()

        def tell(what):
            with ready:
                news.append(what)
                ready.notify()

        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{self.name}", reconnect_on_failure=False
        )
        client.max_inflight_messages_set(WINDOW)
        client.on_connect = lambda *_: tell("connected")
        client.on_publish = lambda _client, _data, mid, *_: tell(mid)
        client.on_disconnect = lambda *_: tell(LOST)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        self.waiting.extendleft(reversed(self.unacked))
        self.unacked.clear()
        mids = {}
        connected = False
        due = time.monotonic()
        try:
            while self.waiting or self.unacked:
                while connected and self.waiting and len(self.unacked) < WINDOW and time.monotonic() >= due:
                    reading = self.waiting.popleft()
                    self.unacked.append(reading)
                    self.sent[reading[:2]] += 1
                    due = max(due, time.monotonic() - 1) + self.interval
                    info = client.publish(readings.topic(self.name), self.payload(reading), qos=1)
                    mids[info.mid] = reading
                with ready:
                    if not news:
                        ready.wait(0.5 if not connected or not self.waiting or len(self.unacked) == WINDOW
                                   else max(0.0, due - time.monotonic()))
                    heard = list(news)
                    news.clear()
                for what in heard:
                    if what == LOST or time.monotonic() > end:
                        return
                    if what == "connected":
                        connected = True
                    else:
                        # A PUBACK may overtake the return of publish(); its reading is in mids by now.
                        reading = mids.pop(what)
                        self.unacked.remove(reading)
                        self.acked.add(reading[:2])
        finally:
            client.disconnect()
            client.loop_stop()

    def payload(self, reading):
        number, seq, date, temp = reading
        return readings.payload(self.name, number, seq, date, temp)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--first-round", type=int, default=1)
    parser.add_argument("--take", type=int, default=None, help="readings per device and round")
    parser.add_argument("--rate", type=float, default=1e9, help="readings per second, all devices together")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    plan = readings.devices()
    fleet = []
    for name, own in plan.items():
        messages = [
            (number, seq, date, temp)
            for number in range(args.first_round, args.first_round + args.rounds)
            for seq, date, temp in own[: args.take]
        ]
        fleet.append(Device(name, messages, args.port, len(plan) / args.rate))
    threads = [threading.Thread(target=device.run) for device in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(args.out, "w", encoding="utf-8") as out:
        for device in fleet:
            for (number, seq), times in device.sent.items():
                acked = int((number, seq) in device.acked)
                print(device.name, number, seq, times, acked, sep="\t", file=out)
    if any(device.waiting or device.unacked for device in fleet):
        raise SystemExit("not everything was acknowledged")


if __name__ == "__main__":
    main()
