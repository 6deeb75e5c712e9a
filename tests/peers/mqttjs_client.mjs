// MQTT.js as a peer of the tests.
//
//   mqttjs_client.mjs publish PORT VERSION QOS COUNT TOPIC    publishes "mqttjs-0" and so on; prints "acked N" when all are acknowledged
//   mqttjs_client.mjs receive PORT VERSION QOS COUNT FILTER   prints each payload received, until COUNT came
//
// VERSION is 3 (3.1.1) or 5. Exits 1 if that takes more than 30 seconds or the server refuses.

import mqtt from "mqtt";

const [verb, port, version, qos, count, topic] = process.argv.slice(2);

setTimeout(() => fail("30 seconds have passed"), 30_000).unref();

const client = await mqtt
  .connectAsync(`mqtt://127.0.0.1:${port}`, {
    protocolVersion: version === "5" ? 5 : 4,
    clientId: `mqttjs-${version}-${verb}`,
    reconnectPeriod: 0,
  })
  .catch((error) => fail(error.message));
client.on("error", (error) => fail(error.message));

if (verb === "publish") {
  const sent = Array.from({ length: Number(count) }, (_, i) => client.publishAsync(topic, `mqttjs-${i}`, { qos: Number(qos) }));
  await Promise.all(sent);
  console.log(`acked ${count}`);
  await client.endAsync();
} else {
  let left = Number(count);
  client.on("message", (_topic, payload) => {
    console.log(payload.toString());
    if (--left === 0) client.end();
  });
  await client.subscribeAsync(topic, { qos: Number(qos) });
}

function fail(why) {
  console.error(why);
  process.exit(1);
}
