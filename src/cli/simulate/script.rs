//! What happens when: the mesh's traffic in its order, from the first status to the last packet.

use super::gateway::Publication;
use super::mesh::{Mesh, Shape};

use std::time::Duration;

/// How much is played, and how fast.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Packet messages a second, of all gateways together.
    pub rate: f64,
    /// The end after so many packet messages; without any end it goes on.
    pub messages: Option<u64>,
    /// The end after so much time at that rate.
    pub time: Option<Duration>,
    /// The nodes' clock at the beginning, in Unix seconds.
    pub clock_s: u32,
}

/// The traffic of a mesh, scene by scene.
#[derive(Debug)]
pub struct Script {
    mesh: Mesh,
    plan: Plan,
    told: Told,
    /// Gateways that have not yet said that they are there.
    silent: usize,
    next_status: Duration,
}

/// What happens at one moment: a packet that several gateways heard, or what they say of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// When it is due after the beginning.
    pub due: Duration,
    /// In the order in which they are sent.
    pub publications: Vec<Publication>,
}

/// What was told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Packets on air.
    pub packets: u64,
    /// Messages about them.
    pub messages: u64,
    /// Messages of gateways about themselves.
    pub statuses: u64,
}

/// How often a gateway says how it is (meshcoretomqtt: every 5 minutes).
const STATUS_EVERY: Duration = Duration::from_secs(300);

impl Script {
    /// The traffic that follows from a seed.
    pub fn new(seed: u64, shape: &Shape, plan: Plan) -> Self {
        let mesh = Mesh::new(seed, shape);
        let silent = mesh.gateways().len();
        Self { mesh, plan, told: Told::default(), silent, next_status: STATUS_EVERY }
    }

    /// The mesh that it is about.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// What was told so far.
    pub fn told(&self) -> Told {
        self.told
    }

    /// When the next scene is due after the beginning.
    pub fn due(&self) -> Duration {
        let seconds = self.told.messages as f64 / self.plan.rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The next scene, with `now_ms` on the gateways' clocks; `None` at the end.
    pub fn next(&mut self, now_ms: i64) -> Option<Scene> {
        let due = self.due();
        if self.silent > 0 {
            self.silent = 0;
            return Some(self.statuses(due, now_ms, true));
        }
        if due >= self.next_status {
            self.next_status = due + STATUS_EVERY;
            return Some(self.statuses(due, now_ms, false));
        }
        let left = self.plan.messages.map_or(u64::MAX, |all| all - self.told.messages.min(all));
        if left == 0 || self.plan.time.is_some_and(|time| due >= time) {
            return None;
        }
        let elapsed_s = u32::try_from(due.as_secs()).unwrap_or(u32::MAX);
        let clock_s = self.plan.clock_s.saturating_add(elapsed_s);
        let mut publications = self.mesh.transmit(clock_s, now_ms).publications;
        publications.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.told.packets += 1;
        self.told.messages += publications.len() as u64;
        Some(Scene { due, publications })
    }

    fn statuses(&mut self, due: Duration, now_ms: i64, retain: bool) -> Scene {
        let all = 0..self.mesh.gateways().len();
        let publications: Vec<_> = all.map(|n| self.mesh.online(n, now_ms, retain)).collect();
        self.told.statuses += publications.len() as u64;
        Scene { due, publications }
    }
}
