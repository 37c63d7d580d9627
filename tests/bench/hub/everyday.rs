//! A region on a usual day: three messages a second.

use crate::child::Hub;
use crate::traffic::Traffic;
use crate::{Table, folder, megabytes};

use rumqttc::mqttbytes::QoS;

const A_SECOND: u32 = 3;
const SECONDS: u32 = 60;

pub(crate) fn run(table: &mut Table) {
    let messages = (A_SECOND * SECONDS) as usize;
    let traffic = Traffic::new(messages, QoS::AtMostOnce);
    let dir = folder();
    let hub = Hub::start(dir.path(), "");
    let before = hub.used();
    let commits_before = hub.status().counters["commits"];
    traffic.trickle(hub.mqtt, f64::from(A_SECOND));
    let status = hub.committed(messages as u64);
    let commits = (status.counters["commits"] - commits_before) as f64 / f64::from(SECONDS);
    let used = hub.used();
    let cpu = (used.cpu - before.cpu).as_secs_f64();
    let memory = hub.memory_mb("VmHWM");
    hub.terminate();
    let (_, used, _) = hub.ended();
    let written = used.wchar - before.wchar;
    table.line(
        &format!("{A_SECOND} messages/s at QoS 0 for a minute: commits"),
        format!("{commits:.2}/s"),
        "1/s",
        "1/s",
    );
    table.line(
        "… written, the last checkpoint included",
        format!(
            "{:.1} MB ({:.1} MB to the disk), {:.1} kB an observation; {cpu:.2} s CPU, {memory:.1} MB",
            megabytes(written),
            megabytes(used.write_bytes - before.write_bytes),
            written as f64 / 1e3 / messages as f64,
        ),
        "–",
        "–",
    );
}
