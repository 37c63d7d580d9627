//! Where a password comes from: the terminal, stdin, or chance.

use std::io::{IsTerminal, Read};

use anyhow::{Context, bail};
use data_encoding::BASE32_NOPAD;

use crate::config::password::{LONGEST_PASSWORD, PasswordHash};

/// How the password is given. Without either it is asked for, twice and without an echo.
#[derive(Debug, clap::Args)]
pub(super) struct Way {
    /// Take the password from standard input: one line
    #[arg(long)]
    password_stdin: bool,
    /// Make a password of 24 letters and digits, and print it once
    #[arg(long, conflicts_with = "password_stdin")]
    generate: bool,
}

/// A password that was chosen.
pub(super) struct Chosen {
    pub(super) hash: PasswordHash,
    /// To be shown, since nobody knows it yet.
    pub(super) generated: Option<String>,
}

impl Way {
    /// Gets the password, and hashes it.
    ///
    /// # Errors
    /// None was given, or none that can be used.
    pub(super) fn choose(&self, name: &str) -> anyhow::Result<Chosen> {
        if self.generate {
            let password = generated()?;
            let hash = hashed(password.as_bytes())?;
            return Ok(Chosen { hash, generated: Some(password) });
        }
        let password = match self.password_stdin {
            true => from_stdin(&mut std::io::stdin().lock())?,
            false => asked(name)?.into_bytes(),
        };
        Ok(Chosen { hash: hashed(&password)?, generated: None })
    }
}

/// 120 bits, in letters and digits that are not taken for one another.
fn generated() -> anyhow::Result<String> {
    Ok(BASE32_NOPAD.encode(&random::<15>()?).to_lowercase())
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

fn hashed(password: &[u8]) -> anyhow::Result<PasswordHash> {
    usable(password)?;
    PasswordHash::make(password, &random()?)
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))
}

fn usable(password: &[u8]) -> anyhow::Result<()> {
    match password.len() {
        0 => bail!("the password is empty; give one, or let --generate make it"),
        len if len > LONGEST_PASSWORD => {
            bail!("the password has {len} bytes; use at most {LONGEST_PASSWORD}")
        }
        _ => Ok(()),
    }
}

/// Whatever bytes stand before the end of the line.
fn from_stdin(stdin: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    let most = u64::try_from(LONGEST_PASSWORD).unwrap_or(u64::MAX).saturating_add(3);
    let mut bytes = Vec::new();
    stdin.take(most).read_to_end(&mut bytes).context("cannot read the password")?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&b'\n') {
        bail!("standard input has more than one line; give the password alone");
    }
    Ok(line.to_vec())
}

fn asked(name: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask for the password on; use --password-stdin or --generate");
    }
    let ask = |what: &str| rpassword::prompt_password(what).context("cannot ask for the password");
    let first = ask(&format!("Password for {name}: "))?;
    usable(first.as_bytes())?;
    if ask("The same again: ")? != first {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_has_one_line_of_any_bytes() {
        for (input, password) in [("x", "x"), ("x\n", "x"), ("x y\r\n", "x y"), ("\n", "")] {
            assert_eq!(from_stdin(&mut input.as_bytes()).unwrap(), password.as_bytes());
        }
        assert_eq!(from_stdin(&mut &b"\xff\n"[..]).unwrap(), b"\xff");
        assert!(from_stdin(&mut "x\ny\n".as_bytes()).is_err());
        let long = vec![b'x'; LONGEST_PASSWORD + 1];
        let read = from_stdin(&mut &long[..]).unwrap();
        assert!(usable(&read).is_err() && usable(&long[1..]).is_ok() && usable(b"").is_err());
    }

    #[test]
    fn generated_passwords_differ_and_can_be_typed() {
        let (a, b) = (generated().unwrap(), generated().unwrap());
        assert!(a != b && a.len() == 24, "{a} {b}");
        assert!(a.chars().all(|c| c.is_ascii_lowercase() || ('2'..='7').contains(&c)), "{a}");
    }
}
