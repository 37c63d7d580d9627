//! Everything at once: messages to committed rows, and what that costs.

use crate::bare::{self, Cost};
use crate::child::{self, Hub};
use crate::mosquitto;
use crate::traffic::Traffic;
use crate::{Table, count, empty_database, folder, megabytes};

use rumqttc::mqttbytes::QoS;
use std::time::Duration;

/// Sends the messages to a fresh hub and inserts the rows that it made of them with a bare loop.
/// `window`: how many a gateway has in flight, at QoS 1.
pub(crate) fn run(table: &mut Table, messages: usize, qos: QoS, window: usize) {
    let traffic = Traffic::new(messages, qos);
    let dir = folder();
    let hub = Hub::start(dir.path(), "");
    let idle_mb = hub.memory_mb("VmRSS");
    let before = hub.used();
    let (began, _) = traffic.burst(hub.mqtt, window, &Default::default());
    let status = hub.committed(messages as u64);
    let behind_ms = status.now_ms - status.writer.last_commit_ms.unwrap();
    let took =
        began.elapsed().saturating_sub(Duration::from_millis(behind_ms.try_into().unwrap_or(0)));
    let cpu = hub.used().cpu.saturating_sub(before.cpu);
    let burst_mb = hub.memory_mb("VmHWM");
    let commits = status.counters["commits"];
    let db = hub.db();
    hub.terminate();
    let (code, used, _) = hub.ended();
    assert_eq!(code, Some(0));
    let stored = [
        ("observations", messages),
        ("transmissions", traffic.packets),
        ("meshbox_refused", 0),
        ("dropped_packets", 0),
    ];
    for (rows, expected) in stored {
        assert_eq!(
            count(&db, &format!("SELECT COUNT(*) FROM {rows}")),
            i64::try_from(expected).unwrap(),
            "{rows}"
        );
    }
    let rate = messages as f64 / took.as_secs_f64();
    let bare: Vec<(usize, Cost)> = [2_000, 10_000]
        .map(|batch| {
            let to = dir.path().join(format!("bare-{batch}.db"));
            empty_database(&to);
            (batch, bare::copy(&db, &to, batch))
        })
        .into();
    let what = match qos {
        QoS::AtMostOnce => format!("{messages} at QoS 0"),
        _ => format!("{messages} at QoS 1, {window} in flight a gateway"),
    };
    let (must, aim) = if messages == 50_000 && qos == QoS::AtMostOnce {
        (
            ["40,000/s", "2 s", "100 MB", "15 / 64 MB"],
            ["0.8 of bare", "1.2 s", "1.1 × bare", "10 / 32 MB"],
        )
    } else {
        (["–"; 4], ["–"; 4])
    };
    let versus = |of: &dyn Fn(&Cost) -> f64, digits: usize| {
        let each = bare.iter().map(|(batch, cost)| format!("{:.digits$} ({batch})", of(cost)));
        each.collect::<Vec<_>>().join(", ")
    };
    let bare_rate = |cost: &Cost| messages as f64 / cost.took.as_secs_f64();
    table.line(
        &format!("{what}: to committed rows"),
        format!(
            "{rate:.0}/s in {commits} commits; {} of a bare loop in batches of so many, which makes {}/s",
            versus(&|c| rate / bare_rate(c), 2),
            versus(&bare_rate, 0),
        ),
        must[0],
        aim[0],
    );
    table.line(
        &format!("{what}: CPU"),
        format!("{:.2} s; bare {} s", cpu.as_secs_f64(), versus(&|c| c.cpu.as_secs_f64(), 2)),
        must[1],
        aim[1],
    );
    let size = std::fs::metadata(&db).unwrap().len();
    table.line(
        &format!("{what}: written, the last checkpoint included"),
        format!(
            "{:.0} MB ({:.0} MB to the disk) for a file of {:.0} MB; bare {} MB",
            megabytes(used.wchar),
            megabytes(used.write_bytes),
            megabytes(size),
            versus(&|c| megabytes(c.bytes), 0),
        ),
        must[2],
        aim[2],
    );
    table.line(
        &format!("{what}: memory idle / at most"),
        format!("{idle_mb:.1} / {burst_mb:.1} MB"),
        must[3],
        aim[3],
    );
    table.line(&format!("{what}: lost"), "0".into(), "0", "0");
}

/// The same publishes to mosquitto, which stores nothing: what a broker alone needs.
pub(crate) fn mosquitto(table: &mut Table) {
    let dir = folder();
    let Some(mut broker) = mosquitto::start(dir.path(), "") else {
        eprintln!("  skipped: mosquitto is not installed");
        return;
    };
    let idle_mb = child::memory_mb(broker.0.id(), "VmRSS");
    for (qos, name) in [(QoS::AtMostOnce, "QoS 0"), (QoS::AtLeastOnce, "QoS 1, 20 in flight")] {
        let traffic = Traffic::new(50_000, qos);
        let before = child::used(broker.0.id()).cpu;
        let (began, _) = traffic.burst(broker.1, 20, &Default::default());
        let took = began.elapsed();
        let cpu = child::used(broker.0.id()).cpu.saturating_sub(before);
        let most_mb = child::memory_mb(broker.0.id(), "VmHWM");
        table.line(
            &format!("mosquitto alone, 50000 at {name}, nothing stored"),
            format!(
                "{:.0}/s, {:.2} s CPU, {idle_mb:.1} / {most_mb:.1} MB",
                traffic.messages() as f64 / took.as_secs_f64(),
                cpu.as_secs_f64(),
            ),
            "–",
            "–",
        );
    }
    let _ = broker.0.kill();
    let _ = broker.0.wait();
}
