"""Eclipse Paho as a peer of the tests.

    paho_client.py publish PORT VERSION QOS COUNT TOPIC    publishes "paho-0" and so on; prints "acked N" when all are acknowledged
    paho_client.py receive PORT VERSION QOS COUNT FILTER   prints each payload received, until COUNT came

VERSION is 3 (3.1.1) or 5. Exits 1 if that takes more than 30 seconds or the server refuses.
"""

import sys
import threading

import paho.mqtt.client as mqtt

PATIENCE_S = 30


def connected(port, version, on_message=None):
    protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{version}-{sys.argv[1]}", protocol=protocol)
    up = threading.Event()
    codes = []

    def on_connect(_client, _userdata, _flags, code, _properties):
        codes.append(code)
        up.set()

    client.on_connect = on_connect
    client.on_message = on_message
    client.max_inflight_messages_set(100)
    client.connect("127.0.0.1", port, keepalive=10)
    client.loop_start()
    if not up.wait(PATIENCE_S) or codes[0].is_failure:
        sys.exit(f"no connection: {codes}")
    return client


def publish(port, version, qos, count, topic):
    client = connected(port, version)
    sent = [client.publish(topic, f"paho-{i}", qos=qos) for i in range(count)]
    for message in sent:
        message.wait_for_publish(PATIENCE_S)
    if not all(message.is_published() for message in sent):
        sys.exit("not everything was acknowledged")
    client.disconnect()
    client.loop_stop()
    print(f"acked {count}")


def receive(port, version, qos, count, topic_filter):
    done = threading.Event()
    received = []

    def on_message(_client, _userdata, message):
        received.append(message.payload.decode())
        print(received[-1], flush=True)
        if len(received) == count:
            done.set()

    client = connected(port, version, on_message)
    client.subscribe(topic_filter, qos)
    if not done.wait(PATIENCE_S):
        sys.exit(f"{len(received)} of {count} messages came")
    client.disconnect()
    client.loop_stop()


verb, port, version, qos, count, topic = sys.argv[1:]
{"publish": publish, "receive": receive}[verb](int(port), version, int(qos), int(count), topic)
