//! Who we are at a source's broker, as it is written.

use std::time::Duration;

use super::super::error::{Error, in_words};
use super::super::judge::{Blame, Judge};
use super::super::node_keys::NodeKey;
use super::super::secret::Secret;
use super::super::uplinks::Login;
use super::super::url::BrokerUrl;
use super::Candidate;

/// No known broker takes tokens for longer than a day, and some for no longer than this.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);

/// A token where a key is named, else an account or nobody.
pub(super) fn judge(
    judge: &mut Judge<'_>,
    candidate: &Candidate,
    url: &BrokerUrl,
) -> Result<Login, Error> {
    match token(judge, candidate, url)? {
        Some(token) => Ok(token),
        None => account(judge, candidate, url),
    }
}

/// User name and password. Those of the URL go over the keys beside it, as in CoreScope's MQTT
/// library; in our own file it is an error to give both.
fn account(judge: &mut Judge<'_>, candidate: &Candidate, url: &BrokerUrl) -> Result<Login, Error> {
    let (written, at) = (&candidate.written, &candidate.at);
    let named = written.username.clone().filter(|name| !name.is_empty());
    let mut password = written.password.clone().filter(|secret| !secret.reveal().is_empty());
    if let Some(file) = written.password_file.as_deref().filter(|file| !file.is_empty()) {
        if password.is_some() {
            let what = "is given beside password; keep one of the two";
            return Err(judge.blame(&at.of("passwordFile"), what));
        }
        password = Some(from_file(judge, &at.of("passwordFile"), file)?);
    }
    let twice = [
        ("username", url.username.is_some() && named.is_some()),
        ("password", url.password.is_some() && password.is_some()),
    ];
    for (key, _) in twice.into_iter().filter(|(_, twice)| *twice) {
        let what = "is given in the URL as well, and the URL counts; keep one of the two";
        judge.complain(&at.of(key), what)?;
    }
    let username = url.username.clone().or(named);
    let password = url.password.clone().or(password);
    if username.is_none() && password.is_some() {
        // MQTT-3.1.2-22.
        let what = "is given without username, and MQTT has no such login; add username";
        judge.complain(&at.of("password"), what)?;
        return Ok(Login::Account { username: None, password: None });
    }
    Ok(Login::Account { username, password })
}

/// Tokens of a key; `None` where no key is named.
fn token(
    judge: &Judge<'_>,
    candidate: &Candidate,
    url: &BrokerUrl,
) -> Result<Option<Login>, Error> {
    let (written, at) = (&candidate.written, &candidate.at);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let audience = given(&written.audience);
    let Some(file) = given(&written.key_file) else {
        return match audience {
            None => Ok(None),
            Some(_) => {
                let what = "is given without keyFile, and only tokens have one; add keyFile";
                Err(judge.blame(&at.of("audience"), what))
            }
        };
    };
    let password = written.password.as_ref().is_some_and(|it| !it.reveal().is_empty());
    let beside = [
        ("username", given(&written.username).is_some()),
        ("password", password),
        ("passwordFile", given(&written.password_file).is_some()),
        ("the login in broker", url.username.is_some() || url.password.is_some()),
    ];
    if let Some((other, _)) = beside.into_iter().find(|(_, given)| *given) {
        let what = format!("is given beside {other}; a token is the whole login, keep one of them");
        return Err(judge.blame(&at.of("keyFile"), what));
    }
    let key = NodeKey::load(&judge.beside(&file));
    let key = key.map_err(|error| judge.blame(&at.of("keyFile"), error.to_string()))?;
    Ok(Some(Login::Token {
        keys: vec![key],
        audience: audience.unwrap_or_else(|| url.host.clone()),
        lifetime: TOKEN_LIFETIME,
        owner: None,
        email: None,
    }))
}

/// The first line of a file, without the end of the line.
pub(in crate::config) fn from_file(
    judge: &Judge<'_>,
    blame: &Blame,
    file: &str,
) -> Result<Secret, Error> {
    let path = judge.beside(file);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let reason = in_words(&error);
        let what =
            format!("cannot read {}: {reason}; name a file that can be read", path.display());
        judge.blame(blame, what)
    })?;
    match text.lines().next().unwrap_or_default() {
        "" => {
            let what = format!("{} is empty; write the password into it", path.display());
            Err(judge.blame(blame, what))
        }
        password => Ok(Secret::new(password)),
    }
}
