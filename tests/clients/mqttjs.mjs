// Drives MQTT.js for the tests: mqttjs.mjs FOLDER URL 3.1.1|5 CA-FILE-or-none ACTION TOPIC; the same lines and
// actions as pahomqtt.py. FOLDER is where node_modules lies.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const [folder, url, version, ca, action, topic] = process.argv.slice(2)
const mqtt = createRequire(folder + '/')('mqtt')

const options = { reconnectPeriod: 0, protocolVersion: version === '5' ? 5 : 4, keepalive: 30 }
options.clientId = action === 'stay' ? 'mqttjs-same' : 'mqttjs'
if (ca !== 'none') options.ca = readFileSync(ca)
if (action === 'stay') options.will = { topic, payload: 'MQTT.js has gone', qos: 1 }
if (action === 'password') Object.assign(options, { username: 'somebody', password: 'wrong' })

const client = mqtt.connect(url, options)
const publish = () => client.publish(topic, 'from MQTT.js', { qos: 1 }, (error) => {
  console.log(error ? `failed ${error}` : 'acknowledged')
  if (action === 'publish') client.end()
})
client.on('connect', () => {
  console.log('connected')
  if (action === 'publish') publish()
  if (action === 'echo' || action === 'stay') {
    client.subscribe('meshcore/#', { qos: 1 }, () => {
      console.log('subscribed')
      if (action === 'echo') publish()
    })
  }
})
client.on('message', (topic, payload) => {
  console.log(`received ${topic} ${payload}`)
  if (action === 'echo') client.end()
})
client.on('error', (error) => {
  console.log(error.code === undefined ? `failed ${error.message}` : `refused ${error.code} ${error.message}`)
  client.end(true)
})
client.on('close', () => {
  console.log('disconnected')
  client.end(true)
})
