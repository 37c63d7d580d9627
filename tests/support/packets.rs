//! Packets and messages for tests: valid, and each different from the others.

/// A gateway's key.
pub(crate) const OBSERVER: &str =
    "7E7662676F7F0850A8A355BAAFBFC1EB7B4174C340442D7D7161C9474A2C9400";

/// A direct TXT_MSG without hops, different for each number: header, path length, destination,
/// source, MAC, one block.
pub(crate) fn text_packet(number: u32) -> String {
    format!("0A00D69F{:04X}{number:08X}{:024X}", number & 0xFFFF, 0xAB)
}

/// The topic of a gateway's packets.
pub(crate) fn packets_topic(observer: &str) -> String {
    format!("meshcore/SJC/{observer}/packets")
}

/// A packet message as a gateway sends it.
pub(crate) fn packet_message(raw: &str) -> String {
    format!(
        r#"{{"origin":"Hilltop","origin_id":"{OBSERVER}","type":"PACKET","direction":"rx","raw":"{raw}","SNR":"12","RSSI":"-65"}}"#
    )
}
