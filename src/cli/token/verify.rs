//! `meshbox token verify`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::{audience, instant};
use crate::cli::status::span;
use crate::config::{Config, TOKEN_SKEW_SEC};
use crate::crypto::token::{Error, Expected, LONGEST, Token, key_in};

/// Arguments of `meshbox token verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The token, which is the password of the login, or - to read it from standard input: whoever
    /// sees a valid one can log in with it, and a command line is seen by every user of the machine
    #[arg(allow_hyphen_values = true)]
    token: String,
    /// The user name that came with it; without: any
    #[arg(long, value_name = "v1_KEY", value_parser = user)]
    username: Option<[u8; 32]>,
    /// The name of the broker that it should be for, * for any; may be given more than once.
    /// Without: the names and addresses of this machine and the configuration's broker.audience
    #[arg(long, value_name = "NAME", value_parser = audience)]
    audience: Vec<String>,
    /// The config file of the hub
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn user(name: &str) -> Result<[u8; 32], &'static str> {
    key_in(name.trim()).ok_or("is no user name of a token; write v1_ and the key's 64 hex digits")
}

/// Tells what is in a token and what is thought of it.
///
/// # Errors
/// Input or a configuration that cannot be read.
pub(super) fn run(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    working_dir: &Path,
    now_s: i64,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let token = match args.token.as_str() {
        "-" => from_stdin()?,
        token => token.as_bytes().to_vec(),
    };
    let (audiences, skew_s) = judged_by(args, env, working_dir)?;
    let expected = Expected {
        public_key: args.username.as_ref(),
        audiences: &audiences,
        now_s: Some(now_s),
        skew_s,
    };
    let parsed = Token::parse(&token);
    let verdict = parsed.as_ref().map_err(Clone::clone).and_then(|it| it.judge(&expected));
    let token = parsed.as_ref().ok();
    match args.json {
        true => writeln!(out, "{}", as_json(token, &verdict))?,
        false => write!(out, "{}", in_words(token, &verdict, now_s))?,
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the broker, none for any, and how many seconds clocks may be off. Whoever names the
/// audience need not be able to read the hub's configuration.
fn judged_by(
    args: &Args,
    env: &dyn Fn(&str) -> Option<String>,
    working_dir: &Path,
) -> anyhow::Result<(Vec<String>, i64)> {
    let any = args.audience.iter().any(|name| name == "*");
    let named = if any { Vec::new() } else { args.audience.clone() };
    if !args.audience.is_empty() && args.config.is_none() {
        return Ok((named, TOKEN_SKEW_SEC));
    }
    let logins = Config::load(args.config.as_deref(), env, working_dir)?.broker.logins;
    let audiences = if args.audience.is_empty() { logins.audience.now() } else { named };
    Ok((audiences, i64::try_from(logins.token_skew.as_secs()).unwrap_or(i64::MAX)))
}

fn from_stdin() -> anyhow::Result<Vec<u8>> {
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1_024);
    let mut bytes = Vec::new();
    std::io::stdin().take(most).read_to_end(&mut bytes).context("cannot read the token")?;
    Ok(bytes)
}

fn in_words(token: Option<&Token>, verdict: &Result<(), Error>, now_s: i64) -> String {
    let mut lines = Vec::new();
    if let Some(token) = token {
        let claims = &token.claims;
        // A stranger's words: escaped, so that they cannot move a terminal's cursor.
        let names = claims.audience.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
        let given = |it: &Option<String>| if it.is_some() { "given" } else { "not given" };
        let client = claims.client.as_ref().map(|client| format!("{client:?}"));
        let expires = claims.expires_at_s.map(|at_s| moment(at_s, now_s));
        lines = vec![
            ("key", hex::encode_upper(token.public_key)),
            ("issued", moment(claims.issued_at_s, now_s)),
            ("expires", expires.unwrap_or_else(|| "never".into())),
            ("audience", if names.is_empty() { "none".into() } else { names.join(", ") }),
            ("client", client.unwrap_or_else(|| "not given".into())),
            ("owner", given(&claims.owner).into()),
            ("email", given(&claims.email).into()),
        ];
    }
    match verdict {
        Ok(()) => lines.push(("verdict", "good: it would be taken now".into())),
        Err(error) => {
            let proven = match token.is_none() || error.is_genuine() {
                true => "",
                false => "; what stands above is not proven",
            };
            lines.push(("verdict", format!("bad: {error}{proven}")));
            lines.push(("do", advice(error).into()));
        }
    }
    lines.iter().map(|(what, text)| format!("{what:<9} {text}\n")).collect()
}

fn moment(at_s: i64, now_s: i64) -> String {
    let (from, to) = if at_s > now_s { (now_s, at_s) } else { (at_s, now_s) };
    let length = span(to.saturating_sub(from).saturating_mul(1_000));
    let relative = if at_s > now_s { format!("in {length}") } else { format!("{length} ago") };
    instant(at_s).map_or_else(|| relative.clone(), |at| format!("{relative}, {at}"))
}

fn as_json(token: Option<&Token>, verdict: &Result<(), Error>) -> serde_json::Value {
    let error = verdict.as_ref().err();
    let claims = token.map(|token| &token.claims);
    json!({
        "ok": error.is_none(),
        "error": error.map(Error::name),
        "reason": error.map(ToString::to_string),
        "advice": error.map(advice),
        "proven": token.is_some() && error.is_none_or(Error::is_genuine),
        "publicKey": token.map(|token| hex::encode_upper(token.public_key)),
        "issuedAt": claims.and_then(|it| instant(it.issued_at_s)),
        "expiresAt": claims.and_then(|it| instant(it.expires_at_s?)),
        "audience": claims.map(|it| &it.audience),
        "client": claims.and_then(|it| it.client.as_ref()),
        "owner": claims.is_some_and(|it| it.owner.is_some()),
        "email": claims.is_some_and(|it| it.email.is_some()),
    })
}

/// What a person does about it.
fn advice(error: &Error) -> &'static str {
    match error {
        Error::TooLong { .. } | Error::Parts { .. } | Error::Encoding { .. } => {
            "copy the whole token, three parts with dots between them, and nothing else"
        }
        Error::SignatureForm { .. } => {
            "copy the token to its end: 128 hex digits after the last dot"
        }
        Error::Json { .. } | Error::Header { .. } | Error::Claim { .. } => {
            "make it with an uploader's own login method \"token\", or with `meshbox token mint`"
        }
        Error::OtherKey { .. } => {
            "let the user name be v1_ and the public key of the private key that signs"
        }
        Error::Signature => {
            "copy it again; if that does not help, the uploader signs with another key than it says"
        }
        Error::Audience { .. } => {
            "set the uploader's token audience to the hub's name, or add that name to broker.audience"
        }
        Error::NotYetValid { .. } => "set the clocks of the gateway and of this machine",
        Error::Expired { .. } => {
            "let the uploader make a new one, which it does at its next login; set its clock"
        }
    }
}
