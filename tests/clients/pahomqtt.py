"""Drives paho-mqtt for the tests: pahomqtt.py PORT tcp|websockets 3.1.1|5 CA-FILE-or-none ACTION TOPIC.

Prints one line for each thing that happened, and ends by itself; the actions are in ACTIONS below.
"""
import os
import sys

import paho.mqtt.client as paho

transport, version, ca, action, topic = sys.argv[2:]
port = int(sys.argv[1])


def say(*words):
    print(*words, flush=True)


def connected(client, _data, _flags, code, _properties):
    say("connected" if not code.is_failure else f"refused {code.value} {code}")
    if code.is_failure:
        client.disconnect()
    elif action == "publish":
        client.publish(topic, "from paho", qos=1)
    elif action in ("echo", "stay"):
        client.subscribe("meshcore/#", qos=1)


def published(client, _data, _mid, _code, _properties):
    say("acknowledged")
    if action == "publish":
        client.disconnect()


def subscribed(client, _data, _mid, _codes, _properties):
    say("subscribed")
    if action == "echo":
        client.publish(topic, "from paho", qos=1)


def received(client, _data, message):
    say("received", message.topic, message.payload.decode())
    if action == "echo":
        client.disconnect()


def disconnected(_client, _data, _flags, _code, _properties):
    say("disconnected")
    if action == "stay":
        os._exit(0)


client = paho.Client(
    paho.CallbackAPIVersion.VERSION2,
    client_id="paho-same" if action == "stay" else "paho",
    transport=transport,
    protocol=paho.MQTTv5 if version == "5" else paho.MQTTv311,
)
if transport == "websockets":
    client.ws_set_options(path="/mqtt")
if ca != "none":
    client.tls_set(ca_certs=ca)
if action == "stay":
    client.will_set(topic, "paho has gone", qos=1)
if action == "password":
    client.username_pw_set("somebody", "wrong")
client.on_connect, client.on_publish, client.on_subscribe = connected, published, subscribed
client.on_message, client.on_disconnect = received, disconnected
client.connect("localhost" if ca != "none" else "127.0.0.1", port, keepalive=30)
client.loop_forever(retry_first_connection=False)
