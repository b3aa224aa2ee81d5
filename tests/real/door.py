"""One client of paho: subscribes to a topic, publishes to it, and prints what comes back.

    door.py --port PORT --topic TOPIC --payload TEXT [--ca FILE] [--cert FILE --key FILE]
            [--user NAME --password TEXT] [--websocket] [--version 4|5]

Prints the payload that came back; or `refused CODE`, if it was not let in or a request was refused.
"""

import argparse
import queue

import paho.mqtt.client as mqtt

LIMIT_S = 20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--payload", required=True)
    for option in ("--ca", "--cert", "--key", "--user", "--password"):
        parser.add_argument(option)
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--version", type=int, default=mqtt.MQTTv5)
    args = parser.parse_args()

    news = queue.Queue()
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id="paho-door",
        protocol=args.version,
        transport="websockets" if args.websocket else "tcp",
        reconnect_on_failure=False,
    )
    if args.ca:
        client.tls_set(ca_certs=args.ca, certfile=args.cert, keyfile=args.key)
    if args.user:
        client.username_pw_set(args.user, args.password)
    client.on_connect = lambda _c, _u, _f, reason, _p: news.put(reason)
    client.on_subscribe = lambda _c, _u, _id, reasons, _p: news.put(reasons[0])
    client.on_message = lambda _c, _u, message: news.put(message.payload.decode())
    client.connect("localhost", args.port)
    client.loop_start()
    try:
        for request in (lambda: client.subscribe(args.topic, 1), lambda: None):
            reason = news.get(timeout=LIMIT_S)
            if reason.is_failure:
                print("refused", reason.value)
                return
            request()
        client.publish(args.topic, args.payload, 1)
        print(news.get(timeout=LIMIT_S))
    finally:
        client.disconnect()
        client.loop_stop()


main()
