//! `meshbox token mint`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::{audience, instant};
use crate::cli::moment::length_ms;
use crate::config::NodeKey;
use crate::config::accounts::key_bytes;
use crate::crypto::token::{Claims, SigningKey, mint, username};

/// Arguments of `meshbox token mint`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file of the node's private key: what `get prv.key` says at its serial console, its 64
    /// bytes, or the app's export
    #[arg(value_name = "KEYFILE")]
    key_file: PathBuf,
    /// The host name of the broker that it is for, as its clients call it
    #[arg(long, value_name = "HOST", value_parser = one_broker)]
    audience: String,
    /// How long it is valid: 600s, 30m, 1h, 7d. Some brokers take no more than an hour
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime_s)]
    lifetime: i64,
    /// The public key of the owner's companion
    #[arg(long, value_name = "KEY", value_parser = owner)]
    owner: Option<String>,
    /// The owner's email address: the broker, and its admins, can read it
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The name of the program that will use it
    #[arg(long, value_name = "NAME", default_value = concat!("meshbox/", env!("CARGO_PKG_VERSION")))]
    client: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn one_broker(name: &str) -> Result<String, &'static str> {
    match audience(name)?.as_str() {
        "*" => Err("names no broker; write its host name"),
        name => Ok(name.to_owned()),
    }
}

fn lifetime_s(text: &str) -> Result<i64, &'static str> {
    let s = length_ms(text.trim()).map(|ms| ms / 1_000).filter(|s| *s > 0);
    s.ok_or("is no length of time; write 600s, 30m, 1h or 7d")
}

fn owner(digits: &str) -> Result<String, &'static str> {
    let key = key_bytes(digits.trim()).ok_or("is no public key; write its 64 hex digits")?;
    Ok(hex::encode_upper(key))
}

/// Prints the login.
///
/// # Errors
/// A key file that is none.
pub(super) fn run(args: &Args, now_s: i64, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let key = signing_key(&args.key_file)?;
    let expires_at_s = now_s.checked_add(args.lifetime).context("the lifetime is too long")?;
    let claims = Claims {
        issued_at_s: now_s,
        expires_at_s: Some(expires_at_s),
        audience: vec![args.audience.clone()],
        owner: args.owner.clone(),
        email: args.email.clone(),
        client: Some(args.client.clone()),
    };
    let (name, password) = (username(key.public_key()), mint(&key, &claims));
    if args.json {
        let expires = instant(expires_at_s);
        let login = json!({"username": name, "password": password, "expiresAt": expires});
        writeln!(out, "{login}")?;
    } else {
        writeln!(out, "username  {name}\npassword  {password}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn signing_key(file: &Path) -> anyhow::Result<SigningKey> {
    let key = NodeKey::load(file)?;
    let ready = SigningKey::from_expanded(key.private.reveal());
    if key.public.is_some_and(|public| public != *ready.public_key()) {
        bail!(
            "{}: public_key is not that of private_key, which is {}; export the node again",
            file.display(),
            hex::encode(ready.public_key())
        );
    }
    let mode = std::fs::metadata(file).map_or(0, |it| it.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        let file = file.display();
        let note = format!("anyone on this machine may read {file} ({mode:04o}); chmod 600 it");
        writeln!(std::io::stderr(), "meshbox: {note}")?;
    }
    Ok(ready)
}
