//! A hub that is killed in an outage, and while it catches up.

use super::{Listener, messages, publish, repeats, to};
use crate::support::eventually_async;
use crate::support::process::{HubProcess, Mosquitto};

use meshbox::control::ask_status;
use meshbox::counters::UplinkState;
use std::path::Path;

/// What of the file may be acknowledged and come again, and the window: as `bridge::spool` and
/// `bridge::uplink::suspect` have them.
const BOUND: usize = 64 + 20;

fn start(dir: &Path, uplink: &str) -> HubProcess {
    let listener = "[[broker.listeners]]\nbind = '127.0.0.1:0'\naccess = 'anyone'\n";
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("broker.toml"), format!("{listener}{uplink}")).unwrap();
    HubProcess::start(dir, &[])
}

async fn until(dir: &Path, what: &str, is: impl Fn(&UplinkState) -> bool) {
    let db = dir.join("data/meshcore.db");
    let state = || ask_status(&db).ok()?.uplinks.remove("up").filter(|state| is(state));
    eventually_async(what, state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_by_its_own_word_survives_a_kill_and_none_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let home = dir.path().join("hub");
    let uplink = to(broker.at);
    let hub = start(&home, &uplink);
    let sent = messages(0..500);
    publish(hub.mqtt.unwrap(), &sent).await;
    until(&home, "all wait", |it| it.waiting == 500 && it.unwritten == 0).await;
    hub.kill();
    broker.start_again();
    let listener = Listener::start(broker.at).await;
    let hub = start(&home, &uplink);
    listener.has(&sent).await;
    until(&home, "nothing waits", |it| it.waiting == 0 && it.sent == 500).await;
    assert_eq!(hub.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_it_catches_up_sends_no_more_again_than_the_bound_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(dir.path(), "") else { return };
    broker.kill();
    let home = dir.path().join("hub");
    let uplink = to(broker.at);
    let hub = start(&home, &uplink);
    let sent = messages(0..3_000);
    publish(hub.mqtt.unwrap(), &sent).await;
    until(&home, "all wait", |it| it.waiting == 3_000 && it.unwritten == 0).await;
    hub.kill();
    broker.start_again();
    let listener = Listener::start(broker.at).await;
    for part in 1..=3 {
        let hub = start(&home, &uplink);
        let some = || (listener.payloads().len() >= part * 500).then_some(());
        eventually_async("some are sent", some).await;
        hub.kill();
    }
    let hub = start(&home, &uplink);
    until(&home, "nothing waits", |it| it.waiting == 0 && it.sent > 0).await;
    let last = || listener.payloads().contains(&sent[2_999]).then_some(());
    eventually_async("the last one arrives", last).await;
    let repeated = repeats(&listener.payloads(), &sent);
    println!("{repeated} came again after 3 kills");
    assert!(repeated <= 3 * BOUND, "{repeated}");
    assert_eq!(hub.terminate(), Some(0));
}
