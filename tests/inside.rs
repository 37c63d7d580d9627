//! The hub in-process, as `cargo test` of another project would run it.

use crate::support::database::{column, count, value};
use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::{PATIENCE, eventually_async};

use meshbox::app::Hub;
use meshbox::clock::Clock;
use meshbox::config::Config;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Starts a hub whose files are in `dir`, with this broker.toml.
async fn hub(dir: &Path, toml: &str) -> Hub {
    let file = dir.join("broker.toml");
    let text = format!("dbPath = \"{}/meshcore.db\"\n{toml}", dir.display());
    std::fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), &|_| None, dir).unwrap();
    Hub::start(&config, Clock::system()).await.unwrap()
}

fn listener(at: &str) -> String {
    format!("[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"{at}\"\n")
}

fn address(hub: &Hub) -> SocketAddr {
    hub.listening()[0].address.parse().unwrap()
}

fn database(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("meshcore.db")
}

async fn stop(hub: Hub) {
    hub.stop(Instant::now() + PATIENCE).await.unwrap();
}

/// A client whose every publish is acknowledged before the next.
struct Gateway {
    client: AsyncClient,
    events: EventLoop,
}

impl Gateway {
    fn connect(at: SocketAddr) -> Self {
        let mut options = MqttOptions::new("gateway", at.ip().to_string(), at.port());
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, events) = AsyncClient::new(options, 16);
        Self { client, events }
    }

    async fn publish(&mut self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload.as_bytes()).await.unwrap();
        loop {
            if let Event::Incoming(Packet::PubAck(_)) = self.events.poll().await.unwrap() {
                return;
            }
        }
    }
}

/// A publisher's form, where it is published, and what must be true of the database afterwards: a
/// query whose first value is 1, or [`NOTHING`].
struct Form {
    name: &'static str,
    subtopic: &'static str,
    payload: String,
    proof: &'static str,
}

/// The form is taken quietly and adds no row.
const NOTHING: &str = "";

/// The rows that messages make.
const ROWS: &str =
    "select (select count(*) from transmissions) + (select count(*) from observations)
    + (select count(*) from observers) + (select count(*) from nodes)";

fn forms() -> Vec<Form> {
    let raw = |n: u32| text_packet(1_000 + n);
    let form = |name, subtopic, payload: String, proof| Form { name, subtopic, payload, proof };
    vec![
        form(
            "1 mctomqtt rx",
            "packets",
            format!(
                r#"{{"origin":"SEA Cap Hill","origin_id":"{OBSERVER}","timestamp":"2026-10-14T18:03:11.482190+00:00","type":"PACKET","direction":"rx","time":"18:03:10","date":"14/10/2026","len":"124","packet_type":"4","route":"F","payload_len":"120","raw":"{}","SNR":"12","RSSI":"-65","score":"1000","duration":"312","hash":"A1B2C3D4E5F67890"}}"#,
                raw(1)
            ),
            "select count(*) from packets_v where raw_hex like '%000003E9%' and snr = 12 and rssi = -65 and score = 1000 and direction = 'rx' and observer_name = 'SEA Cap Hill'",
        ),
        form(
            "2 mctomqtt direct with path and nulls",
            "packets",
            format!(
                r#"{{"origin":"SEA Cap Hill","origin_id":"{OBSERVER}","type":"PACKET","direction":"rx","route":"D","raw":"{}","SNR":"9","RSSI":"-70","path":"1A -> 2B","duration":null,"hash":null}}"#,
                raw(2)
            ),
            "select count(*) from packets_v where raw_hex like '%000003EA%' and snr = 9",
        ),
        form(
            "3 mctomqtt tx",
            "packets",
            format!(
                r#"{{"origin":"SEA Cap Hill","origin_id":"{OBSERVER}","type":"PACKET","direction":"tx","raw":"{}"}}"#,
                raw(3)
            ),
            "select count(*) from packets_v where raw_hex like '%000003EB%' and direction = 'tx' and snr is null and rssi is null",
        ),
        form(
            "4 mctomqtt status",
            "status",
            format!(
                r#"{{"status":"online","timestamp":"2026-10-14T18:00:00.000123+00:00","origin":"SEA Cap Hill","origin_id":"{OBSERVER}","radio":"910.525,62.5,7,5","model":"Heltec V4 OLED","firmware_version":"1.13.0","client_version":"meshcoretomqtt/1.1.0-abc1234","stats":{{"battery_mv":4261,"uptime_secs":75400,"debug_flags":0,"queue_len":0,"noise_floor":-99,"tx_air_secs":474,"rx_air_secs":9949,"recv_errors":2331}}}}"#
            ),
            "select count(*) from observers where model = 'Heltec V4 OLED' and firmware = '1.13.0' and battery_mv = 4261 and uptime_secs = 75400 and noise_floor = -99 and radio = '910.525,62.5,7,5'",
        ),
        form(
            "5 offline",
            "status",
            format!(
                r#"{{"status":"offline","timestamp":"2026-10-14T17:55:02.101+00:00","origin":"SEA Cap Hill","origin_id":"{OBSERVER}"}}"#
            ),
            "select packet_count = 4 from observers where model = 'Heltec V4 OLED'",
        ),
        form(
            "6 pktcap with decode",
            "packets",
            format!(
                r#"{{"origin":"Obs 3","origin_id":"{OBSERVER}","type":"PACKET","direction":"rx","packet_type":"5","raw":"{}","SNR":"-3.25","RSSI":"-108","decoded":{{"a":"b","path":["ab","cd"]}}}}"#,
                raw(6)
            ),
            "select count(*) from packets_v where raw_hex like '%000003EE%' and snr = -3.25 and rssi = -108",
        ),
        form(
            "7 observer firmware, old path",
            "packets",
            format!(
                r#"{{"timestamp":"2026-10-14T11:03:11.000000","origin":"MeshCore-HOWL","type":"PACKET","direction":"rx","raw":"{}","origin_id":"{OBSERVER}","SNR":"12.5","RSSI":"-65","path":"path_3x1_3b"}}"#,
                raw(7)
            ),
            "select count(*) from packets_v where raw_hex like '%000003EF%' and snr = 12.5",
        ),
        form(
            "8 observer firmware, new path",
            "packets",
            format!(
                r#"{{"origin":"MeshCore-HOWL","raw":"{}","origin_id":"{OBSERVER}","direction":"rx","SNR":"12.5","RSSI":"-65","score":"873","path":["5f","1a","c0"]}}"#,
                raw(8)
            ),
            "select count(*) from packets_v where raw_hex like '%000003F0%' and score = 873",
        ),
        form(
            "9 observer firmware status",
            "status",
            format!(
                r#"{{"status":"online","timestamp":"2026-10-14T11:00:00.000000","origin":"MeshCore-HOWL","origin_id":"{OBSERVER}","model":"Heltec V4","firmware_version":"v1.16.0","radio":"910.525024,62.5,7,5","client_version":"meshcore/v1.16.0","repeat":"off","stats":{{"battery_mv":4112,"uptime_secs":86400,"packets_sent":120,"packets_received":15480,"errors":0,"noise_floor":-112,"tx_air_secs":30,"rx_air_secs":2210,"recv_errors":14,"internal_heap":61234}}}}"#
            ),
            "select (select count(*) from observers where can_relay = 0 and can_relay_seen = 1) and (select count(*) from observer_metrics where packets_recv = 15480 and packets_sent = 120)",
        ),
        form(
            "10 slim, no origin_id",
            "packets",
            format!(
                r#"{{"origin":"sprocket","timestamp":"2026-10-14T14:03:11.000000","type":"PACKET","direction":"rx","raw":"{}","SNR":"9.5","RSSI":"-88","score":"873"}}"#,
                raw(10)
            ),
            "select count(*) from packets_v where raw_hex like '%000003F2%' and observer_name = 'sprocket'",
        ),
        form(
            "11 openhop tx with zeros",
            "packets",
            format!(
                r#"{{"origin":"hop","origin_id":"{OBSERVER}","date":"4/9/2026","route":"3","direction":"tx","raw":"{}","SNR":"0","RSSI":"0"}}"#,
                raw(11)
            ),
            "select count(*) from packets_v where raw_hex like '%000003F3%' and snr = 0 and rssi = 0",
        ),
        form(
            "12 rtfm numbers and Unknown",
            "packets",
            format!(
                r#"{{"origin":"rt","origin_id":"{OBSERVER}","timestamp":"2026-10-14T18:03:11.482190Z","raw":"{}","SNR":-3.25,"RSSI":"Unknown"}}"#,
                raw(12)
            ),
            "select count(*) from packets_v where raw_hex like '%000003F4%' and snr = -3.25 and rssi is null",
        ),
        form(
            "13 raw",
            "raw",
            format!(r#"{{"origin":"x","origin_id":"{OBSERVER}","type":"RAW","data":"F593AA"}}"#),
            NOTHING,
        ),
        form(
            "13 raw of openhop",
            "raw",
            format!(r#"{{"origin_id":"{OBSERVER}","type":"raw","data":"F593AA","bytes":3}}"#),
            NOTHING,
        ),
        form(
            "14 debug",
            "debug",
            format!(
                r#"{{"origin":"x","origin_id":"{OBSERVER}","type":"DEBUG","message":"DEBUG: hello"}}"#
            ),
            NOTHING,
        ),
        form(
            "15 neighbors",
            "neighbors",
            format!(
                r#"{{"origin":"x","origin_id":"{OBSERVER}","total_neighbors":1,"neighbors":[{{"pubkey":"AB","snr":7.5,"rssi":-97,"heard_secs_ago":null,"status":"responded"}}]}}"#
            ),
            NOTHING,
        ),
        form(
            "16 ha raw mode",
            "packets",
            format!(
                r#"{{"origin":"x","origin_id":"{OBSERVER}","source":"meshcore-ha","event_type":"RX_LOG_DATA","payload":{{"snr":1}}}}"#
            ),
            NOTHING,
        ),
        form(
            "17 forwarded remote data",
            "packets",
            format!(r#"{{"origin_id":"{OBSERVER}","subject_id":"AB","type":"TELEMETRY"}}"#),
            NOTHING,
        ),
        form(
            "18 corescope-rx",
            "packets",
            format!(
                r#"{{"raw":"{}","SNR":1.5,"RSSI":-100,"timestamp":"2026-06-09T12:00:00Z","gps":{{"lat":51.05,"lon":3.72,"acc_m":8}}}}"#,
                raw(18)
            ),
            "select count(*) from packets_v where raw_hex like '%000003FA%' and snr = 1.5",
        ),
        form(
            "19 internal",
            "debug",
            format!(
                r#"{{"origin_id":"{OBSERVER}","timestamp":1760465000000,"jwt_payload":{{}},"trust_state":{{}}}}"#
            ),
            NOTHING,
        ),
        form(
            "20 companion bridge",
            "",
            r#"{"text":"Bob: hi","channel_idx":0,"sender_timestamp":1760465000,"SNR":5}"#.into(),
            "select count(*) from transmissions where json_extract(decoded_json, '$.type') = 'CHAN' and json_extract(decoded_json, '$.sender') = 'Bob' and json_extract(decoded_json, '$.channel') = 'ch0'",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_that_publishers_send_becomes_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(dir.path(), &listener("127.0.0.1:0")).await;
    let mut gateway = Gateway::connect(address(&hub));
    let db = database(&dir);
    for Form { name, subtopic, payload, proof } in forms() {
        let topic = match subtopic {
            "" => "meshcore/message/channel/0".to_owned(),
            subtopic => format!("meshcore/SEA/{OBSERVER}/{subtopic}"),
        };
        // The acknowledgement comes after the commit, so the rows must be there now.
        let before = count(&db, ROWS);
        gateway.publish(&topic, &payload).await;
        match proof {
            NOTHING => assert_eq!(count(&db, ROWS), before, "form {name} adds no row"),
            proof => assert_eq!(value::<i64>(&db, proof), Some(1), "form {name}: {proof}"),
        }
    }
    assert_eq!(count(&db, "select count(*) from observers"), 1);
    assert_eq!(column(&db, "select iata from observers"), ["SEA"]);
    stop(hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_hub_plays_the_external_broker_is_stopped_and_started_and_traffic_resumes() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = hub(far.path(), &listener("127.0.0.1:0")).await;
    let at = address(&outside);
    let source = format!(
        "[broker]\nenabled = false\n[[mqttSources]]\nname = \"far\"\nbroker = \"mqtt://{at}\"\n"
    );
    let inside = hub(near.path(), &source).await;
    let receiving = || {
        let far = &inside.health().sources["far"];
        (far.connected && far.step == "receiving").then_some(())
    };
    let db = database(&near);
    let rows = |n: i64| (count(&db, "select count(*) from transmissions") == n).then_some(());

    eventually_async("the source is subscribed", receiving).await;
    let mut gateway = Gateway::connect(at);
    gateway.publish(&packets_topic(OBSERVER), &packet_message(&text_packet(1))).await;
    eventually_async("the packet came over the bridge", || rows(1)).await;

    stop(outside).await;
    eventually_async("the loss is seen", || {
        (!inside.health().sources["far"].connected).then_some(())
    })
    .await;
    let outside = hub(far.path(), &listener(&at.to_string())).await;
    eventually_async("the source is subscribed again", receiving).await;
    let mut gateway = Gateway::connect(at);
    gateway.publish(&packets_topic(OBSERVER), &packet_message(&text_packet(2))).await;
    eventually_async("traffic resumes", || rows(2)).await;

    let speaker = "select kind || ' ' || name from meshbox_origins";
    assert_eq!(column(&db, speaker), ["source far"]);
    assert_eq!(column(&database(&far), speaker), ["anonymous 127.0.0.1"]);
    stop(inside).await;
    stop(outside).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sources_filter_holds_back_packets_of_other_regions_and_no_status() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = hub(far.path(), &listener("127.0.0.1:0")).await;
    let at = address(&outside);
    let source = format!(
        "[broker]\nenabled = false\n[[mqttSources]]\nname = \"far\"\nbroker = \"mqtt://{at}\"\n\
         iataFilter = [\"SJC\"]\n"
    );
    let inside = hub(near.path(), &source).await;
    eventually_async("the source is subscribed", || {
        (inside.health().sources["far"].step == "receiving").then_some(())
    })
    .await;
    let mut gateway = Gateway::connect(at);
    let foreign = format!("meshcore/LAX/{OBSERVER}");
    gateway.publish(&format!("{foreign}/packets"), &packet_message(&text_packet(1))).await;
    let status = r#"{"status":"online","origin":"Hilltop","model":"Heltec V4"}"#;
    gateway.publish(&format!("{foreign}/status"), status).await;
    gateway.publish(&packets_topic(OBSERVER), &packet_message(&text_packet(2))).await;
    let db = database(&near);
    eventually_async("the last of them is stored", || {
        (count(&db, "select count(*) from transmissions where raw_hex like '%00000002%'") == 1)
            .then_some(())
    })
    .await;
    assert_eq!(count(&db, "select count(*) from transmissions"), 1);
    assert_eq!(column(&db, "select model from observers"), ["Heltec V4"]);
    assert_eq!(inside.health().reasons["iata_filtered"], 1);
    stop(inside).await;
    stop(outside).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_may_arrive_on_any_topic_is_counted_and_loses_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(dir.path(), &listener("127.0.0.1:0")).await;
    let mut gateway = Gateway::connect(address(&hub));
    let packets = packets_topic(OBSERVER);
    let with_raw = |raw: &str| format!(r#"{{"raw":"{raw}"}}"#);
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let bad = [
        "not json".to_owned(),
        "[1,2,3]".to_owned(),
        "\"text\"".to_owned(),
        format!(r#"{{"raw":"{}"}}"#, "zz".repeat(100_000)),
        "x".repeat(200_000),
        deep,
        with_raw("0A0"),
        with_raw("0A"),
        with_raw("05C5"),
        with_raw("0185010203"),
        with_raw(&format!("0A00{}", "00".repeat(185))),
        r#"{"raw":42}"#.to_owned(),
        String::new(),
    ];
    for payload in &bad {
        gateway.publish(&packets, payload).await;
    }
    gateway.publish(&packets, &with_raw("0A 00 D6 9F D7A5A7475DB07337749AE61FA53A4788E976")).await;
    let nan = r#"{"raw":"0A00D69FD7A5A7475DB07337749AE61FA53A4788E977","SNR":"NaN","RSSI":"inf"}"#;
    gateway.publish(&packets, nan).await;
    let db = database(&dir);
    assert_eq!(count(&db, "select count(*) from transmissions"), 2);
    assert_eq!(
        count(&db, "select count(*) from observations where snr is null and rssi is null"),
        2
    );
    let health = hub.health();
    let counted: u64 = health.reasons.values().sum();
    assert!(counted >= bad.len() as u64, "{:?}", health.reasons);
    assert_eq!(health.counters["ingest_panics"], 0);
    stop(hub).await;
}
