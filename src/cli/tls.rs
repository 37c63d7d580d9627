//! `meshbox tls`: certificates for the hub's own listeners.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};

use super::new_file::NewFile;
use crate::broker::Certificate;
use crate::clock::Clock;
use crate::config::CertificateFiles;

/// Arguments of `meshbox tls`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a certificate for a local network, which clients are told to trust by its file
    SelfSigned(SelfSigned),
}

/// Arguments of `meshbox tls self-signed`.
#[derive(Clone, Debug, clap::Args)]
pub struct SelfSigned {
    /// A further name or address under which clients reach the hub; may be given several times
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// The folder for meshbox-cert.pem and meshbox-key.pem
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Ten years. Nobody renews it for its owner, and each gateway that trusts it has to be told of
/// another one by hand; what it protects against is a reader in the local network, and a lost key is
/// answered by a new pair, not by waiting.
const DAYS: i64 = 3_652;

/// A machine whose clock has not been set yet must not find its own certificate in the future.
const BEFORE_DAYS: i64 = 365;

/// Does what was asked for.
///
/// # Errors
/// What keeps the pair from being made, in one line; files that are there already stay as they are.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let Command::SelfSigned(args) = &args.command;
    let files = CertificateFiles {
        certificate: args.dir.join("meshbox-cert.pem"),
        key: args.dir.join("meshbox-key.pem"),
    };
    for file in [&files.certificate, &files.key] {
        if file.symlink_metadata().is_ok() {
            bail!(
                "{} is there already, and clients may trust it: name another folder with --dir, \
                 or move it away",
                file.display()
            );
        }
    }
    let names = names(&args.hosts)?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let certificate = params(&names, &Clock::system())?.self_signed(&key);
    let certificate = certificate.context("cannot make a certificate")?;
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    // The key first: a certificate without its key is of no use, and would have to be taken away.
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.certificate, &certificate.pem(), 0o644)?;
    let made = Certificate::load(&files)?;
    tell(out, &files, &names, &made)?;
    Ok(ExitCode::SUCCESS)
}

/// Names and addresses under which this machine is reached, those given first.
fn names(given: &[String]) -> anyhow::Result<Vec<String>> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().to_ascii_lowercase();
    let short = host.split('.').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = given.iter().map(|name| name.trim().to_owned()).collect();
    if let Some(wrong) = names.iter().find(|name| name.is_empty() || name.contains(['/', ' '])) {
        bail!("{wrong:?} is no host name: write it without https:// and port");
    }
    names.extend([format!("{short}.local"), short, host, "localhost".to_owned()]);
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.iter().map(if_addrs::Interface::ip);
    // Link-local ones need a zone, which no certificate can name.
    let is_usable = |it: &IpAddr| !matches!(it, IpAddr::V6(v6) if v6.is_unicast_link_local());
    names.extend(addresses.filter(is_usable).map(|address| address.to_string()));
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.is_empty() && name != ".local" && seen.insert(name.clone()));
    Ok(names)
}

/// What stands in the certificate. It may sign nothing but itself: whoever trusts it trusts this hub.
fn params(names: &[String], clock: &Clock) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(
                name.as_str().try_into().with_context(|| format!("{name:?} is no host name"))?,
            ),
        });
    }
    let first = names.first().map_or("meshbox", String::as_str);
    params.distinguished_name.push(DnType::CommonName, format!("meshbox on {first}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = jiff::Timestamp::from_millisecond(clock.now_ms())?.to_zoned(jiff::tz::TimeZone::UTC);
    let date = |days: i64| -> anyhow::Result<_> {
        let date = now.checked_add(jiff::Span::new().days(days))?.date();
        let [month, day] = [date.month(), date.day()].map(i8::unsigned_abs);
        Ok(rcgen::date_time_ymd(i32::from(date.year()), month, day))
    };
    params.not_before = date(-BEFORE_DAYS)?;
    params.not_after = date(DAYS)?;
    Ok(params)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = NewFile::begin(path, false)?;
    let cannot = || format!("cannot write {}", path.display());
    file.file().set_permissions(PermissionsExt::from_mode(mode)).with_context(cannot)?;
    file.file().write_all(text.as_bytes()).with_context(cannot)?;
    file.publish()
}

fn tell(
    out: &mut dyn Write,
    files: &CertificateFiles,
    names: &[String],
    made: &Certificate,
) -> anyhow::Result<()> {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let [certificate, key] = [&files.certificate, &files.key].map(|path| absolute(path));
    writeln!(
        out,
        "certificate {}, for anyone to see and for clients to trust\n\
         key         {}, for the hub alone (mode 0600): give it to the user that runs the hub\n\
         names       {}\n\
         good until  {}\n\
         sha256      {}\n\n\
         Put this into broker.toml:\n\n\
         [[broker.listeners]]\n\
         transport = \"tls\"\n\
         bind = \"0.0.0.0:8883\"\n\
         access = \"lan\"\n\
         certificateFile = {:?}\n\
         keyFile = {:?}",
        certificate.display(),
        key.display(),
        names.join(" "),
        made.good_until().unwrap_or_default(),
        made.fingerprint(),
        certificate.display().to_string(),
        key.display().to_string(),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn made(dir: &Path, hosts: &[&str]) -> anyhow::Result<String> {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        let command = Command::SelfSigned(SelfSigned { hosts, dir: dir.to_owned() });
        let mut out = Vec::new();
        run(&Args { command }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_pair_is_made_whose_key_is_private_and_it_is_never_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let pair = dir.path().join("new/tls");
        let words = made(&pair, &["hub.example", "192.0.2.7"]).unwrap();
        for part in ["hub.example", "192.0.2.7", "localhost", "127.0.0.1", "transport = \"tls\""] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let key = pair.join("meshbox-key.pem");
        assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        let before = std::fs::read(&key).unwrap();
        let error = made(&pair, &[]).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        assert_eq!(std::fs::read(&key).unwrap(), before);
    }

    #[test]
    fn what_is_no_host_name_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for host in ["https://hub.example", "", "two words", "ü"] {
            assert!(made(dir.path(), &[host]).is_err(), "{host}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
