//! `meshbox simulate`: a small mesh that does not exist, for a hub that does. It is the load
//! generator as well.

mod dice;
pub mod gateway;
pub mod mesh;
mod node;
pub mod script;
mod stage;
#[cfg(test)]
mod tests;

use self::mesh::Shape;
use self::script::{Plan, Script, Told};
use self::stage::{Played, Signals, Stage};
use super::new_file::NewFile;
use crate::bridge::Random;
use crate::clock::Clock;
use crate::config::secret::Secret;
use crate::config::{Scheme, broker_url};

use anyhow::{Context, bail};
use rumqttc::QoS;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `meshbox simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker that the gateways publish to
    #[arg(long, value_name = "URL", default_value = "mqtt://localhost:1883")]
    broker: String,
    /// The user name of every gateway
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Its password; other users of this machine can see it in the list of processes
    #[arg(long, value_name = "PASSWORD", requires = "username")]
    password: Option<String>,
    /// Gateways, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least::<1, 200>)]
    gateways: usize,
    /// Nodes that send
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least::<2, 10_000>)]
    nodes: usize,
    /// Messages a second, of all gateways together
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = a_rate)]
    rate: f64,
    /// As fast as the broker takes it, whatever the rate; the rate still moves the nodes' clocks
    #[arg(long, conflicts_with = "jsonl")]
    fast: bool,
    /// End after so many seconds of that rate; without any end it goes on until Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// 0, as most gateways publish, or 1
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// At QoS 1: messages of a gateway that wait for their acknowledgement
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
    /// The region in the topics
    #[arg(long, value_name = "REGION", default_value = "SIM", value_parser = a_region)]
    region: String,
    /// The channel that is written in: Public, or one with a #, whose name the hub needs in
    /// hashChannels to read it
    #[arg(long, value_name = "NAME", default_value = "Public", value_parser = a_channel)]
    channel: String,
    /// The same nodes, gateways and packets as whenever this seed is given; without it they are
    /// others each time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the messages to this file (- for stdout) as `meshbox replay` takes them, instead of
    /// sending them: those of a minute, if neither --seconds nor --messages says how many
    #[arg(long, value_name = "FILE", conflicts_with_all = ["username", "qos", "inflight"])]
    jsonl: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "jsonl")]
    force: bool,
    /// Print what was sent as one JSON object
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
}

fn at_least<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (LEAST..=MOST).contains(n));
    number.ok_or_else(|| format!("give a number from {LEAST} to {MOST}"))
}

fn a_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "give a number from 0.001 to 1000000".to_owned())
}

fn a_region(text: &str) -> Result<String, String> {
    let fits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| text.to_owned()).ok_or_else(|| "give 1 to 8 letters or digits".to_owned())
}

fn a_channel(text: &str) -> Result<String, String> {
    let fits = text == "Public" || (text.starts_with('#') && text.len() > 1);
    fits.then(|| text.to_owned()).ok_or_else(|| "give Public, or a name that begins with #".into())
}

/// Where the nodes' clocks stand in a mesh that can be had again: 2026-01-01T00:00:00Z.
const SEEDED_CLOCK_S: u32 = 1_767_225_600;

/// What a file gets where nothing says how much.
const FILE_TIME: Duration = Duration::from_secs(60);

/// Plays the mesh toward the broker, or into a file.
///
/// # Errors
/// No broker, one that refuses the gateways or lets them go; a file that cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let seed = args.seed.unwrap_or_else(|| Random::system().number() % 1_000_000);
    let now_s = u32::try_from(clock.now_ms() / 1_000).unwrap_or(u32::MAX);
    let clock_s = if args.seed.is_some() { SEEDED_CLOCK_S } else { now_s };
    let unbounded = args.seconds.is_none() && args.messages.is_none();
    let in_file = (args.jsonl.is_some() && unbounded).then_some(FILE_TIME);
    let plan = Plan {
        rate: args.rate,
        messages: args.messages,
        time: args.seconds.map(Duration::from_secs).or(in_file),
        clock_s,
    };
    let shape = Shape {
        nodes: args.nodes,
        gateways: args.gateways,
        region: args.region.clone(),
        channel: args.channel.clone(),
        ..Shape::default()
    };
    let mut script = Script::new(seed, &shape, plan);
    match &args.jsonl {
        Some(path) => write_file(&mut script, path, args.force, clock_s, out),
        None => perform(&mut script, args, seed, &clock, out),
    }
}

fn perform(
    script: &mut Script,
    args: &Args,
    seed: u64,
    clock: &Clock,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let stage = stage(args)?;
    let broker = format!("mqtt://{}:{}", stage.host, stage.port);
    if !args.json {
        let pace = if args.fast { "as fast as it goes".into() } else { format!("{}/s", args.rate) };
        let (gateways, nodes, region) = (args.gateways, args.nodes, &args.region);
        writeln!(
            out,
            "{gateways} gateways in {region} hear {nodes} nodes (seed {seed}): {pace} to {broker}; Ctrl-C ends it"
        )?;
        out.flush()?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let played = runtime.context("cannot start the runtime")?.block_on(async {
        let stop = Signals::listen().context("cannot listen for signals")?;
        anyhow::Ok(stage::play(script, &stage, clock, stop).await)
    })?;
    tell(&played, args, seed, out)?;
    match played.trouble {
        None => Ok(ExitCode::SUCCESS),
        Some(trouble) => bail!("the broker at {broker}: {trouble}"),
    }
}

fn stage(args: &Args) -> anyhow::Result<Stage> {
    let url = broker_url(&args.broker).map_err(|what| anyhow::anyhow!("--broker {what}"))?;
    if url.scheme != Scheme::Tcp {
        bail!("--broker: {}:// is not built yet; use mqtt://", url.scheme.name());
    }
    Ok(Stage {
        host: url.host,
        port: url.port,
        username: args.username.clone().or(url.username),
        password: args.password.as_ref().map(Secret::new).or(url.password),
        qos: if args.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
        inflight: args.inflight,
        fast: args.fast,
    })
}

fn tell(played: &Played, args: &Args, seed: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    let Played { told: Told { packets, messages, statuses }, sent, acknowledged, took, .. } =
        played;
    let seconds = took.as_secs_f64();
    let rate = if seconds > 0.0 { *sent as f64 / seconds } else { 0.0 };
    let acknowledged = (args.qos > 0).then_some(*acknowledged);
    if args.json {
        let told = serde_json::json!({
            "seed": seed,
            "packets": packets,
            "messages": messages,
            "statuses": statuses,
            "sent": sent,
            "acknowledged": acknowledged,
            "seconds": seconds,
            "perSecond": rate,
        });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    let confirmed = acknowledged.map_or_else(String::new, |n| format!(", {n} acknowledged"));
    writeln!(
        out,
        "{sent} messages sent{confirmed}, in {seconds:.1} s ({rate:.0}/s): {messages} about {packets} packets, the others about the gateways"
    )?;
    Ok(())
}

/// Writes the lines of `meshbox replay`. Every clock in them is the nodes', so that a seed gives the
/// same file.
fn write_file(
    script: &mut Script,
    path: &Path,
    force: bool,
    clock_s: u32,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if path == Path::new("-") {
        lines(script, clock_s, &mut BufWriter::new(out))?;
        return Ok(ExitCode::SUCCESS);
    }
    let file = NewFile::begin(path, force)?;
    let written = || format!("cannot write {}", path.display());
    lines(script, clock_s, &mut BufWriter::new(file.file())).with_context(written)?;
    file.publish()?;
    let Told { packets, messages, statuses } = script.told();
    writeln!(out, "{messages} messages about {packets} packets, {statuses} about the gateways")?;
    Ok(ExitCode::SUCCESS)
}

fn lines(script: &mut Script, clock_s: u32, out: &mut impl Write) -> std::io::Result<()> {
    let now_ms = |due: Duration| {
        i64::from(clock_s) * 1_000 + i64::try_from(due.as_millis()).unwrap_or_default()
    };
    while let Some(scene) = script.next(now_ms(script.due())) {
        for publication in scene.publications {
            let gateway::Publication { topic, payload, retain, .. } = publication;
            let mut line = serde_json::json!({ "topic": topic, "payload": payload });
            if retain {
                line["retain"] = true.into();
            }
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}
