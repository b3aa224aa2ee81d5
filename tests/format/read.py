#!/usr/bin/env python3
"""Reads a log by FORMAT.md alone: written from that page, sharing nothing with the code that writes logs.

    tests/format/read.py [--controls] [--explain] [--stream NAME] DIRECTORY

Prints what `tributary log export` prints: a line of JSON for each event and each range of lost offsets; with --controls the
control records, too; with --explain what is in them, for people. Python's standard library only; not quick.
"""

import datetime
import json
import os
import re
import struct
import sys

EVENTS, CONTROL = 0xE1, 0xC0
NAMES = ["opened", "routes", "anchor", "hint", "cursor", "gap", "sessions", "trimmed", "replayed",
         "downlink"]
ORIGINS = ["device", "source", "downlink", "rule"]
OFFSET_MAX = 1 << 62
HEAD = 48


def table():
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return rows


TABLE = table()


def crc32c(seed, data):
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(0, b"123456789") == 0xE3069283


class Malformed(Exception):
    """Bytes are not what they should be."""


class Cursor:
    """Takes fields off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Malformed
        self.at += count
        return self.data[self.at - count:self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def byte(self):
        return self.take(1)[0]

    def big(self, count):
        return int.from_bytes(self.take(count), "big")

    def varint(self):
        value = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF
        raise Malformed

    def zigzag(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def piece(self):
        return self.take(self.varint())

    def text(self):
        return utf8(self.piece())

    def optional(self, read):
        return read() if self.byte() else None


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed from None


class Frame:
    """A valid head, and where it stands."""

    def __init__(self, place, head):
        self.place = place
        (self.kind, self.flags, self.count, self.length, self.offset, self.delta, self.generation, self.wall, self.age,
         self.body_crc, self.crc) = struct.unpack("<BBHIQIIqQII", head)
        self.body = None

    @property
    def end(self):
        return self.place + HEAD + self.length

    @property
    def code(self):
        return self.kind - CONTROL if self.kind != EVENTS else None

    def key(self):
        return (self.crc, self.body_crc)


class Segment:
    """One file of the ring."""

    def __init__(self, index, data, size):
        self.index = index
        self.data = data + bytes(size - len(data))
        self.header = None
        for at in (0, 512, size - 512):
            copy = self.data[at:at + 64]
            if self.header is None and copy[:7] == b"TRIBSEG" and struct.unpack("<I", copy[60:])[0] == crc32c(0, copy[:60]):
                if copy[7:8] not in (b"1", b"2"):
                    sys.exit(f"segment {index} is of another version: {copy[7:8]!r}")
                (self.log, self.sequence, self.base, self.salt, self.oldest, self.page, self.generation,
                 self.skipped) = struct.unpack("<QQQQQIII", copy[8:60])
                page = self.page
                if 1024 <= page <= 65536 and page & page - 1 == 0 and size % page == 0 and size // page >= 8 and size >= 9216:
                    self.header = copy
                    # Frames end before the last page, which holds the header again.
                    self.data = self.data[:size - page if copy[7:8] == b"2" else size]
        if self.header is not None:
            self.seed = crc32c(0, struct.pack("<QQ", self.log, self.salt))
            self.views = {(): self.data}

    @property
    def takes_over_at(self):
        return max(self.base - self.skipped, 0)

    def view(self, slot, page_at):
        """The segment with one page replaced by a slot."""
        if (slot, page_at) not in self.views:
            page = self.data[slot * self.page:(slot + 1) * self.page]
            self.views[slot, page_at] = self.data[:page_at] + page + self.data[page_at + self.page:]
        return self.views[slot, page_at]

    def head(self, view, place):
        """The frame whose head is valid at a place."""
        head = view[place:place + HEAD]
        if len(head) < HEAD or not (head[0] == EVENTS or CONTROL <= head[0] < CONTROL + 32):
            return None
        frame = Frame(place, head)
        if frame.offset > OFFSET_MAX or frame.end > len(view):
            return None
        if crc32c(crc32c(self.seed, struct.pack("<I", place)), head[:44]) != frame.crc:
            return None
        return frame

    def frame(self, view, place):
        """The valid frame at a place."""
        frame = self.head(view, place)
        if frame is not None:
            body = view[place + HEAD:frame.end]
            if crc32c(0, body) != frame.body_crc:
                return None
            frame.body = body
        return frame

    def copies(self, place):
        """The frames that are valid at a place in any copy of their first or last page."""
        found = {}
        here = place - place % self.page
        pages = {here, here + self.page}
        views = [self.data]
        for slot in (1, 2):
            views += [self.view(slot, page) for page in sorted(pages) if page < len(self.data)]
        for view in list(views):
            head = self.head(view, place)
            if head is not None:
                last = (head.end - 1) - (head.end - 1) % self.page
                views += [self.view(slot, last) for slot in (1, 2)]
        for view in views:
            frame = self.frame(view, place)
            if frame is not None:
                found.setdefault(frame.key(), frame)
        return list(found.values())

    def slots(self):
        """For each slot the page that it holds, by the frames in it."""
        for slot in (1, 2):
            start = slot * self.page
            for at in range(start, start + self.page):
                if self.data[at] != EVENTS and not CONTROL <= self.data[at] < CONTROL + 32:
                    continue
                for page_at in range(3 * self.page, len(self.data), self.page):
                    if self.head(self.view(slot, page_at), page_at + at - start) is not None:
                        yield slot, page_at
                        break
                else:
                    continue
                break


class Walk:
    """A place in a segment, and what is expected there."""

    def __init__(self, segment):
        self.segment = segment
        self.place, self.next = 3 * segment.page, segment.base
        self.generation, self.age = segment.generation, 0

    def copy(self):
        other = Walk(self.segment)
        other.place, other.next, other.generation, other.age = self.place, self.next, self.generation, self.age
        return other

    def goes_on(self, frame):
        same = frame.generation == self.generation
        if frame.code == 0:
            return frame.offset >= self.next and (same or frame.age > self.age)
        if frame.code == 5:
            return same and frame.offset >= self.next
        return same and frame.offset == self.next

    def is_behind(self, frame):
        return frame.offset >= self.next and (frame.generation == self.generation or frame.age > self.age)

    def pass_by(self, frame):
        self.place, self.next = frame.end, frame.offset + frame.count
        self.generation, self.age = frame.generation, max(self.age, frame.age)

    def step(self):
        """The frame that goes on here; of several the one with which reading comes furthest."""
        frames = [frame for frame in self.segment.copies(self.place) if self.goes_on(frame)]
        if len(frames) > 1:
            frames.sort(key=self.reach, reverse=True)
        return frames[0] if frames else None

    def reach(self, frame):
        walk = self.copy()
        walk.pass_by(frame)
        while (frame := walk.step()) is not None:
            walk.pass_by(frame)
        return walk.place

    def resume(self, newest):
        """Where the log goes on behind what cannot be read here; None: nowhere."""
        segment, found = self.segment, []
        views = [segment.data] + [segment.view(*slot) for slot in segment.slots()]
        for view in views:
            first, proven = None, None if newest else True
            for place in range(self.place, len(view) - HEAD + 1):
                head = segment.head(view, place)
                if head is None or not self.is_behind(head):
                    continue
                whole = segment.frame(view, place)
                if whole is not None and first is None:
                    first = whole
                if place > self.place and place - head.delta > self.place:
                    # A head alone proves it; its body may be in a slot.
                    proven = proven or head
                if first is not None and proven:
                    break
            if proven:
                found += [frame for frame in (first, proven) if isinstance(frame, Frame)][:1]
        if not found:
            return False
        frame = min(found, key=lambda frame: frame.place)
        self.place, self.next, self.generation = frame.place, frame.offset, frame.generation
        return True


class Log:
    """A log, read from its oldest offset to its end."""

    def __init__(self, directory, stream):
        segments = load(directory, stream)
        held = [segment for segment in segments if segment.header is not None]
        self.items, self.due = [], 0
        if not held:
            return
        newest = max(held, key=lambda segment: segment.sequence)
        ring = sorted((s for s in held if s.log == newest.log), key=lambda segment: segment.sequence)
        if len(ring) > 1 and not begins(newest):
            ring.pop()
        last = ring[-1]
        self.oldest = max(ring[0].base, last.oldest)
        frames = {segment.index: list(read(segment, after)) for segment, after in zip(ring, ring[1:] + [None])}
        claims = [newest.base, noted(directory, stream, last)]
        for item in frames[last.index]:
            if isinstance(item, Frame) and item.code == 7:
                self.oldest = max(self.oldest, struct.unpack("<Q", item.body[:8])[0])
            if isinstance(item, Frame) and item.code == 3 and len(item.body) >= 8:
                claims.append(struct.unpack("<Q", item.body[:8])[0])
        self.lose(0, self.oldest, "evicted")
        first = max((i for i, s in enumerate(ring) if s.base <= self.oldest), default=0)
        for segment in ring[first:]:
            self.lose(self.due, segment.base, "damaged")
            for item in frames[segment.index]:
                if isinstance(item, Frame):
                    self.take(item)
                else:
                    self.lose(self.due, item, "damaged")
        self.lose(self.due, max(claims), "damaged")

    def lose(self, first, end, why):
        if first < end:
            last = self.items[-1] if self.items else {}
            if last.get("gap") == why and last["end"] == first:
                last["end"] = end
            else:
                self.items.append({"gap": why, "first": first, "end": end})
            self.due = max(self.due, end)

    def take(self, frame):
        if frame.kind != EVENTS:
            if frame.code < len(NAMES):
                self.items.append({"control": NAMES[frame.code], "at": frame.offset, "body_hex": frame.body.hex()})
            return
        cursor, offset = Cursor(frame.body), frame.offset
        for offset in range(frame.offset, frame.offset + frame.count):
            try:
                line = event(Cursor(cursor.piece()), offset, frame)
            except Malformed:
                break
            if self.due <= offset < frame.until:
                self.items.append(line)
                self.due = offset + 1
        self.lose(self.due, min(frame.offset + frame.count, frame.until), "damaged")


def load(directory, stream):
    found = {}
    for name in os.listdir(directory):
        match = re.fullmatch(re.escape(stream) + r"-(\d{5,})\.seg", name)
        if match:
            with open(os.path.join(directory, name), "rb") as file:
                found[int(match[1])] = file.read()
    if not found:
        sys.exit(f"{directory} holds no stream {stream}")
    size = max(map(len, found.values()))
    return [Segment(index, data, size) for index, data in sorted(found.items())]


def noted(directory, stream, last):
    """What the note beside the segments says of the offsets that were given out; 0 if it says nothing."""
    try:
        with open(os.path.join(directory, stream + ".end"), "rb") as file:
            data = file.read()
    except OSError:
        return 0
    notes = []
    for note in (data[:52], data[65536:65588]):
        if len(note) == 52 and note[:8] == b"TRIBEND1" and crc32c(0, note[:48]) == struct.unpack("<I", note[48:])[0]:
            log, number, sequence, end, bound = struct.unpack("<5Q", note[8:48])
            notes.append((number, log, sequence, end, bound))
    if not notes:
        return 0
    _, log, sequence, end, bound = max(notes)
    if log != last.log or sequence < last.sequence:
        return 0
    return bound if sequence > last.sequence else end


def begins(segment):
    """Whether the records that a segment begins with were made durable as a whole."""
    walk = Walk(segment)
    while (frame := walk.step()) is not None:
        if frame.code == 0:
            return True
        walk.pass_by(frame)
    return walk.resume(newest=True)


def read(segment, after):
    """The frames of a segment, and, where offsets are lost before one, the offset at which it goes on."""
    walk = Walk(segment)
    until = after.takes_over_at if after else OFFSET_MAX
    while True:
        frame = walk.step()
        if frame is None:
            if walk.next >= until or not walk.resume(newest=after is None):
                return
            yield min(walk.next, until)
            continue
        if frame.offset > until or frame.kind == EVENTS and frame.offset == until:
            return
        if frame.offset > walk.next:
            yield min(frame.offset, until)
        frame.until = until
        walk.pass_by(frame)
        yield frame


def event(cursor, offset, frame):
    flags = cursor.byte()
    if flags & 3 == 3 or flags >> 7 or flags & 0x58 > 0x40:
        raise Malformed
    line = {"offset": offset, "time": time(frame.wall + cursor.zigzag())}
    if not frame.flags & 1:
        line["trusted"] = False
    if flags & 0x20 and int.from_bytes(cursor.take(2), "little") == 0:
        raise Malformed
    client, topic, properties = cursor.text(), cursor.text(), cursor.piece()
    line.update(topic=topic, client=client, qos=flags & 3)
    if flags & 4:
        line["retain"] = True
    line["origin"] = "replay" if flags & 0x40 else ORIGINS[flags >> 3 & 3]
    line.update(read_properties(Cursor(properties)))
    payload = cursor.rest()
    try:
        line["payload"] = payload.decode()
    except UnicodeDecodeError:
        line["payload_hex"] = payload.hex()
    return line


def read_properties(cursor):
    """MQTT 5.0, 2.2.2: in the order in which an export has them."""
    found, user = {}, []

    def text():
        return utf8(cursor.take(cursor.big(2)))

    try:
        while cursor.at < len(cursor.data):
            code = cursor.byte()
            if code == 0x01:
                found["is_text"] = cursor.byte() == 1
            elif code == 0x02:
                found["expiry_s"] = cursor.big(4)
            elif code == 0x03:
                found["content_type"] = text()
            elif code == 0x08:
                found["response_topic"] = text()
            elif code == 0x09:
                found["correlation_hex"] = cursor.take(cursor.big(2)).hex()
            elif code == 0x26:
                user.append([text(), text()])
            elif code == 0x0B:
                cursor.varint()
            elif code == 0x23:
                cursor.take(2)
            else:
                break
    except Malformed:
        pass
    if user:
        found["user_properties"] = user
    order = ["content_type", "expiry_s", "response_topic", "correlation_hex", "is_text", "user_properties"]
    return {name: found[name] for name in order if name in found}


def time(ms):
    ms = min(max(ms, 0), 253402300799999)
    day = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms)
    return day.isoformat(timespec="milliseconds") + "Z"


def explain(item):
    """What a control record says."""
    cursor = Cursor(bytes.fromhex(item["body_hex"]))
    number = lambda form: struct.unpack("<" + form, cursor.take(struct.calcsize(form)))[0]
    kind, said = item["control"], {}
    if kind == "opened":
        openings = []
        while cursor.at < len(cursor.data):
            openings.append([f"{number('I'):08x}", number("Q")])
        said = {"openings": openings}
    elif kind == "anchor":
        said = {"age_ms": cursor.varint(), "wall_ms": cursor.zigzag(), "trusted": cursor.byte() == 1}
        if cursor.at != len(cursor.data):
            outages = [[cursor.varint(), cursor.varint(), cursor.varint()] for _ in range(cursor.varint())]
            said["outages"] = outages
            said["before"] = cursor.optional(lambda: [cursor.varint(), cursor.zigzag()])
    elif kind == "hint":
        said = {"claim": number("Q"), "lane": cursor.text(), "high": cursor.varint(), "low": cursor.varint(),
                "generation": f"{cursor.varint():08x}", "account": cursor.text()}
        if cursor.at != len(cursor.data):
            said["reached"] = cursor.optional(lambda: [cursor.varint(), cursor.text()])
            said["spent"] = [cursor.varint(), cursor.varint()]
    elif kind == "cursor":
        try:
            said = {"name": cursor.text(), "position": cursor.varint(), "lost": cursor.varint(),
                    "forgotten": cursor.byte() == 1}
        except Malformed:
            return item
    elif kind == "gap":
        said = {"first": number("Q"), "end": number("Q")}
    elif kind == "trimmed":
        said = {"oldest": number("Q")}
    elif kind == "routes":
        said = {"format": cursor.byte(), "lane_since": cursor.optional(cursor.varint), "next_id": cursor.varint()}
        laned = said["format"] >= 2
        said["routes"] = [route(cursor, laned) for _ in range(cursor.varint())]
        lane = [cursor.varint] if laned else []
        said["retired"] = [[cursor.text(), cursor.varint(), *(read() for read in lane)] for _ in range(cursor.varint())]
        said["program_bytes"] = len(cursor.piece())
        if laned:
            said["begun"] = [cursor.byte() == 1 for _ in range(3)]
            said["emptied"] = [cursor.optional(cursor.varint) for _ in range(3)]
        if said["format"] == 3:
            said["shapes"] = [[cursor.varint(), cursor.byte()] for _ in range(cursor.varint())]
    if said and cursor.at != len(cursor.data):
        raise Malformed
    return {"control": kind, "at": item["at"], **said}


def route(cursor, laned):
    said = {"id": cursor.varint(), "begin": cursor.varint(), "since": cursor.varint()}
    if laned:
        said["moved"] = cursor.optional(lambda: [cursor.varint(), cursor.varint(), cursor.varint()])
    said |= {"name": cursor.text(), "from": cursor.optional(cursor.text), "condition": cursor.optional(cursor.text),
             "topic": cursor.text(), "key": cursor.optional(cursor.text), "partition_by_key": cursor.byte() == 1}
    if laned:
        said["lane"] = cursor.varint()
    return said


def main():
    arguments, stream = sys.argv[1:], "input"
    if "--stream" in arguments:
        at = arguments.index("--stream")
        stream = arguments[at + 1]
        del arguments[at:at + 2]
    flags = {argument for argument in arguments if argument.startswith("--")}
    places = [argument for argument in arguments if argument not in flags]
    if len(places) != 1 or flags - {"--controls", "--explain"}:
        sys.exit(__doc__)
    for item in Log(places[0], stream).items:
        if "control" in item and "--explain" in flags:
            item = explain(item)
        elif "control" in item and "--controls" not in flags:
            continue
        print(json.dumps(item, ensure_ascii=False, separators=(",", ":")))


main()
