"""A link between two TUN devices: a rate, a delay, loss and a queue, for each packet and in both directions.

    link.py --near NAME --far NAME --rate BITS --delay MS --loss PERCENT --queue BYTES --seed N

A packet waits until the link has sent those before it, takes its own time, is lost by chance, and arrives
after the delay. What does not fit into the queue is dropped. SIGUSR1 swallows everything from now on,
SIGUSR2 ends that. Needs to be root. The devices are there until it ends, wherever they are moved to; it ends
with the process that has started it.
"""

import argparse
import collections
import fcntl
import os
import random
import select
import signal
import struct
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_BYTES_MAX = 65536


class Direction:
    """One of the two: from a device to the other."""

    def __init__(self, source, sink, args, seed):
        self.source, self.sink = source, sink
        self.seconds_per_byte = 8.0 / args.rate
        self.delay = args.delay / 1000.0
        self.loss = args.loss / 100.0
        self.queue_bytes = args.queue
        self.random = random.Random(seed)
        self.free_at = 0.0
        self.on_the_way = collections.deque()

    def take(self, now, is_cut):
        """Takes all that has come."""
        while True:
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except OSError:
                # Nothing more, or the device is down.
                return
            if is_cut or (self.free_at - now) / self.seconds_per_byte > self.queue_bytes:
                continue
            self.free_at = max(self.free_at, now) + len(packet) * self.seconds_per_byte
            # What is lost has taken its time on the link as well.
            if self.random.random() >= self.loss:
                self.on_the_way.append((self.free_at + self.delay, packet))

    def deliver(self, now):
        """Hands over what has arrived."""
        while self.on_the_way and self.on_the_way[0][0] <= now:
            packet = self.on_the_way.popleft()[1]
            try:
                os.write(self.sink, packet)
            except OSError:
                # The device is down.
                pass

    def due(self):
        """When the next packet arrives."""
        return self.on_the_way[0][0] if self.on_the_way else None


def device(name):
    """A TUN device of its own."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--near", required=True)
    parser.add_argument("--far", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--loss", type=float, required=True)
    parser.add_argument("--queue", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()

    cut = [False]
    signal.signal(signal.SIGUSR1, lambda *_: cut.__setitem__(0, True))
    signal.signal(signal.SIGUSR2, lambda *_: cut.__setitem__(0, False))
    near, far = device(args.near), device(args.far)
    parent = os.getppid()
    up = Direction(near, far, args, args.seed)
    down = Direction(far, near, args, args.seed + 1)
    while os.getppid() == parent:
        dues = [due for due in (up.due(), down.due()) if due is not None]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else 1.0
        readable, _, _ = select.select([near, far], [], [], timeout)
        now = time.monotonic()
        for direction in (up, down):
            if direction.source in readable:
                direction.take(now, cut[0])
            direction.deliver(now)


if __name__ == "__main__":
    main()
