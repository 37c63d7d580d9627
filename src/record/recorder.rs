//! From a message to a record.

use super::opener::Opener;
use super::reading::{Reading, signature_is_good};
use super::refusal::{IATA_FILTERED, Refusal};
use super::rows::{Activity, Body, DroppedRow, ObserverRow, PacketRow, Record, StatusRow};
use super::rules::{Rules, SourceRules};
use super::verdicts::Verdicts;
use super::{advert, companion};
use crate::envelope::{self, Envelope, Heard, Observer, Status};
use crate::message::Message;
use crate::packet::hash::Digest;
use crate::packet::payload::Advert;
use crate::packet::payload::app_data::Fields;
use crate::packet::{Frame, hex};

/// Makes records of messages. Holds what must be remembered from one message to the next: the
/// verdict on an advert's signature, so that it is computed once per transmission and not once per
/// observation; and with node keys, who else was heard. Both are bounded.
#[derive(Debug, Default)]
pub struct Recorder {
    rules: Rules,
    verdicts: Verdicts,
    opener: Option<Opener>,
    origin_id_mismatches: u64,
}

/// A message that became no record: it comes back whole, its receipt still open.
#[derive(Debug)]
pub struct Unrecorded {
    /// The message.
    pub message: Box<Message>,
    /// The reason's name in the counters.
    pub reason: &'static str,
    /// The reason in words, with numbers, for the log; free of control characters.
    pub detail: String,
    /// True where there is simply nothing to store ([`envelope::Unread::is_noise`], a region that is
    /// filtered out): counted, not logged. False for bad input.
    pub noise: bool,
}

/// What a record is made of, beside the message.
type Rows = (Option<ObserverRow>, Body);

impl Recorder {
    /// A recorder with these rules.
    pub fn new(rules: Rules) -> Self {
        let opener = Opener::new(rules.node_keys.clone());
        Self { rules, opener, ..Self::default() }
    }

    /// Whether it is of use to know nodes ([`Recorder::hear`]).
    pub fn opens_peer_packets(&self) -> bool {
        self.opener.is_some()
    }

    /// A node that was heard before this recorder began, the last one last: packets between it and a
    /// node of ours can be opened before it is heard again.
    pub fn hear(&mut self, public_key: &[u8; 32]) {
        if let Some(opener) = &mut self.opener {
            opener.hear(public_key);
        }
    }

    /// Reads the message, decodes its packet and makes the rows to be.
    ///
    /// # Errors
    /// The message and the named reason why there is nothing to store.
    pub fn record(&mut self, message: Message) -> Result<Record, Unrecorded> {
        match self.rows(&message) {
            Ok((observer, body)) => Ok(Record { message, observer, body }),
            Err(Refusal { reason, detail, noise }) => {
                Err(Unrecorded { message: Box::new(message), reason, detail, noise })
            }
        }
    }

    /// How many messages so far had an `origin_id` that contradicted the topic's key; the topic won.
    pub fn origin_id_mismatches(&self) -> u64 {
        self.origin_id_mismatches
    }

    fn rows(&mut self, message: &Message) -> Result<Rows, Refusal> {
        let source = self.rules.of(&message.origin);
        let region = source.and_then(|s| s.region.as_deref());
        let envelope = envelope::read(message, region)?;
        if !matches!(envelope, Envelope::Status(_)) {
            pass_filter(source, &message.topic)?;
        }
        match envelope {
            Envelope::Packet(heard) => self.packet(heard),
            Envelope::Status(status) => Ok(self.status(status)),
            Envelope::Companion(said) => {
                let row = companion::row(said, message.received_at_ms);
                Ok((None, Body::Packet(Box::new(row))))
            }
        }
    }

    fn packet(&mut self, heard: Heard) -> Result<Rows, Refusal> {
        self.origin_id_mismatches += u64::from(heard.origin_id_differs);
        let bytes = hex::parse(&heard.raw)?;
        let frame = Frame::parse(&bytes)?;
        let Self { rules, verdicts, opener, .. } = self;
        let mut reading = Reading::of(frame, rules, |advert, digest| {
            rules.validate_signatures.then(|| judge(verdicts, advert, digest))
        });
        if let Some(advert) = reading.advert() {
            advert::validate(advert)?;
        }
        if reading.signature_valid() == Some(false) {
            return Ok(dropped(&reading, heard));
        }
        if let Some(opener) = opener {
            opener.take(&reading.packet, &mut reading.inside);
        }
        let observer = heard.observer.clone().map(|o| row_of(o, Activity::Packet));
        Ok((observer, Body::Packet(Box::new(packet_row(&reading, rules, heard)))))
    }

    fn status(&mut self, status: Status) -> Rows {
        self.origin_id_mismatches += u64::from(status.origin_id_differs);
        let alive = !status.offline && !status.retained;
        let activity = if alive { Activity::Status } else { Activity::None };
        let observer = row_of(status.observer, activity);
        (Some(observer), Body::Status(Box::new(StatusRow { about: status.about })))
    }
}

/// The filter is for packets and companion messages only: an observer's health is of interest
/// wherever it is (CoreScope #694).
fn pass_filter(source: Option<&SourceRules>, topic: &str) -> Result<(), Refusal> {
    match source.and_then(|s| s.refuses(topic)) {
        None => Ok(()),
        Some(region) => {
            let region: String = region.chars().take(16).collect();
            let detail = format!("region {region:?} is not in the source's iataFilter");
            Err(Refusal::noise(IATA_FILTERED, &detail))
        }
    }
}

fn judge(verdicts: &mut Verdicts, advert: &Advert<'_>, digest: Digest) -> bool {
    verdicts.of(digest, || signature_is_good(advert))
}

/// A forged or damaged advert is no sign of life of anyone, as CoreScope has it.
fn dropped(reading: &Reading<'_>, heard: Heard) -> Rows {
    let fields = reading.advert().and_then(|advert| advert.app_data.fields());
    let node_name = fields.and_then(Fields::name);
    let row = DroppedRow {
        hash: reading.digest.content_hash().to_string(),
        raw_hex: without_white_space(heard.raw),
        reason: "invalid signature".to_owned(),
        node_pubkey: reading.from_pubkey(),
        node_name,
    };
    let observer = heard.observer.map(|o| row_of(o, Activity::None));
    (observer, Body::Dropped(Box::new(row)))
}

fn packet_row(reading: &Reading<'_>, rules: &Rules, heard: Heard) -> PacketRow {
    let header = reading.packet.header;
    let scope_name = reading.scope_name(rules);
    let default_scope = scope_name.clone().filter(|name| !name.is_empty());
    PacketRow {
        hash: reading.digest.content_hash().to_string(),
        raw_hex: without_white_space(heard.raw),
        route_type: header.route.bits(),
        payload_type: header.payload_type.nibble(),
        payload_version: header.version,
        decoded_json: reading.decoded().to_json(),
        from_pubkey: reading.from_pubkey(),
        channel_hash: reading.channel_column(),
        scope_name,
        path_json: reading.path_json(),
        snr_db: heard.snr_db,
        rssi_dbm: heard.rssi_dbm,
        score: heard.score,
        direction: heard.direction,
        node: reading.advert().and_then(|advert| advert::node(advert, default_scope)),
    }
}

fn row_of(observer: Observer, activity: Activity) -> ObserverRow {
    let Observer { id, name, iata } = observer;
    ObserverRow { id, name, iata, activity }
}

/// Whoever reads the column finds hex only; the case stays as it was sent.
fn without_white_space(raw: String) -> String {
    if raw.contains(char::is_whitespace) { raw.split_whitespace().collect() } else { raw }
}

#[cfg(test)]
mod tests;
