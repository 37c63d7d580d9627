//! Messages a second and CPU a message: 20 gateways send as fast as they are let.

use crate::broker::Broker;
use crate::row;
use crate::subscriber::Subscriber;
use crate::traffic::Traffic;

use rumqttc::mqttbytes::QoS;
use std::time::{Duration, Instant};

/// Messages of one round, as gateways send them: 450 to 900 bytes.
const MESSAGES: usize = 50_000;

/// The brokers take turns, so that what else the machine does meets both.
const ROUNDS: usize = 4;

/// What all rounds of one broker took together.
#[derive(Default)]
struct Cost {
    messages: usize,
    copies: usize,
    took: Duration,
    cpu: Duration,
}

pub(crate) fn run(pair: &[Broker; 2]) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    let fast = Traffic::new(MESSAGES, QoS::AtMostOnce);
    let sure = Traffic::new(MESSAGES, QoS::AtLeastOnce);
    let slow = Traffic::new(MESSAGES / 5, QoS::AtLeastOnce);
    let loads = [
        ("QoS 0", &fast, 0),
        ("QoS 1, 1 in flight a gateway", &slow, 1),
        ("QoS 1, 20 in flight a gateway", &sure, 20),
        ("QoS 1, 1000 in flight a gateway", &sure, 1_000),
    ];
    for (name, traffic, window) in loads {
        for with_subscriber in [false, true] {
            let name =
                if with_subscriber { format!("{name}, one subscriber") } else { name.into() };
            let costs = compare(pair, traffic, window, with_subscriber);
            rows.extend(lines(&name, &costs, with_subscriber));
        }
    }
    rows
}

fn compare(pair: &[Broker; 2], traffic: &Traffic, window: usize, reads: bool) -> [Cost; 2] {
    let mut costs = [Cost::default(), Cost::default()];
    for _ in 0..ROUNDS {
        for (broker, cost) in pair.iter().zip(&mut costs) {
            let subscriber = reads.then(|| Subscriber::of(broker.tcp));
            let before = broker.cpu();
            let (began, done) = traffic.burst(broker.tcp, window, &Default::default());
            cost.took += began.elapsed();
            assert_eq!(done.iter().sum::<usize>(), traffic.messages(), "all were taken");
            cost.copies += subscriber.as_ref().map_or(0, |it| it.settled(traffic.messages()));
            settle(broker);
            cost.cpu += broker.cpu().saturating_sub(before);
            cost.messages += traffic.messages();
        }
    }
    costs
}

/// Waits until a broker has nothing more to do.
fn settle(broker: &Broker) {
    let (mut last, deadline) = (broker.cpu(), Instant::now() + Duration::from_secs(5));
    while Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(50));
        let now = broker.cpu();
        if now == last {
            return;
        }
        last = now;
    }
}

fn lines(name: &str, [ours, theirs]: &[Cost; 2], reads: bool) -> Vec<[String; 4]> {
    let each = |of: fn(&Cost) -> f64| (of(ours), of(theirs));
    let (rate, their_rate) = each(|it| it.messages as f64 / it.took.as_secs_f64());
    let (cpu, their_cpu) = each(|it| it.cpu.as_secs_f64() * 1e6 / it.messages as f64);
    let mut lines = vec![
        row(format!("{name}: messages a second"), rate, their_rate, |it| format!("{it:.0}")),
        row(format!("{name}: CPU a message"), cpu, their_cpu, |it| format!("{it:.2} µs")),
    ];
    if reads {
        let (copies, their_copies) = each(|it| 100.0 * it.copies as f64 / it.messages as f64);
        let what = format!("{name}: copies that it got");
        lines.push(row(what, copies, their_copies, |it| format!("{it:.0} %")));
    }
    lines
}
